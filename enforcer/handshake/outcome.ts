/** Owns what one call of the engine may answer: a verdict, and what else has to be done. Source: design, "Threads" and style, "Flow". */
import type { OwnToken, Role, Suite, VerifiedIdentity } from "../identity/identity.ts";
import type { Reason } from "../reason.ts";
import type { FlowAddresses, FlowRecord } from "./flow-record.ts";

/** The queues of a PU's namespace: 0 inbound SYN, 1 inbound SYN-ACK, 2 other inbound TCP, 3 outbound SYN and SYN-ACK, 4 other outbound TCP, 5 inbound and 6 outbound of every other protocol. */
export type Queue = 0 | 1 | 2 | 3 | 4 | 5 | 6;

/** What the accepted packet's mark says to the rule set: nothing, "the reader judged this SYN", or "save it: the flow is authorised". */
export type Mark = "none" | "judged" | "authorised";

/**
 * A whole packet to send from a raw socket in the PU's namespace: a reset. `self` means the PU's own kernel, by way of lo,
 * with the peer's address as its source. The bytes are the receiver's to keep.
 */
export interface Emission {
  readonly packet: Uint8Array;
  readonly to: "peer" | "self";
}

/** Asymmetric work that the packet waits for. Its byte strings are copies; `source` is the sender's 16-byte address, for its budget. */
export type Work =
  | {
      readonly kind: "verify";
      readonly suite: Suite;
      readonly token: Uint8Array;
      readonly certificates: readonly Uint8Array[];
      readonly source: Uint8Array;
    }
  | {
      readonly kind: "agree";
      readonly own: OwnToken;
      readonly peer: VerifiedIdentity;
      readonly role: Role;
      readonly source: Uint8Array;
    };

/** A handshake's time with this enforcer: the datapath adds what each of its segments took. */
export interface Stopwatch {
  spentMs: number;
}

/**
 * The verdict for one packet. `packet` replaces the one that came; it lies in a buffer of the engine and is valid until the next
 * call; undefined leaves the packet as it is. After `hold` nothing has changed: do the work and call again with the same bytes.
 */
export type Outcome =
  | {
      readonly verdict: "accept";
      readonly mark: Mark;
      readonly packet: Uint8Array | undefined;
      /** Why a reset stands in its place, where no record says so: to be counted like a drop. */
      readonly reason?: Reason;
      /** The handshake that the packet belongs to. */
      readonly handshake?: Stopwatch;
      readonly emit?: readonly Emission[];
      readonly record?: FlowRecord;
    }
  | {
      readonly verdict: "drop";
      readonly reason: Reason;
      readonly emit?: readonly Emission[];
      readonly record?: FlowRecord;
    }
  | { readonly verdict: "hold"; readonly work: Work };

/** What `expire` found: set the connmark of this client's flow (the server proved itself and then stayed silent), or count a handshake that came to nothing. */
export type Expiry =
  | { readonly action: "authorise"; readonly flow: FlowAddresses }
  | { readonly action: "forget"; readonly reason: Reason; readonly flow: FlowAddresses };

/** Every packet that is accepted as it is. */
export const acceptUnchanged: Outcome = { verdict: "accept", mark: "none", packet: undefined };

/** Every packet that a decision made before lets pass, and whose flow gets the mark (again). */
export const acceptAuthorised: Outcome = { verdict: "accept", mark: "authorised", packet: undefined };

const drops = new Map<Reason, Outcome>();

/** The one drop outcome of each reason; drops of hostile packets allocate nothing. */
export function drop(reason: Reason): Outcome {
  const known = drops.get(reason);
  if (known !== undefined) return known;
  const outcome: Outcome = { verdict: "drop", reason };
  drops.set(reason, outcome);
  return outcome;
}

/** The packet waits until this token is verified. Copies what the message lends. */
export function holdForVerification(
  suite: Suite,
  token: Uint8Array,
  certificates: readonly Uint8Array[],
  source: Uint8Array,
): Outcome {
  const copies = certificates.map((certificate) => certificate.slice());
  return {
    verdict: "hold",
    work: { kind: "verify", suite, token: token.slice(), certificates: copies, source: source.slice() },
  };
}

/** The packet waits for the keys of this pair. */
export function holdForAgreement(
  own: OwnToken,
  peer: VerifiedIdentity,
  role: Role,
  source: Uint8Array,
): Outcome {
  return { verdict: "hold", work: { kind: "agree", own, peer, role, source: source.slice() } };
}
