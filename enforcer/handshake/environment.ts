/** Owns what the engine is given: who it acts for, whom it asks, and the sizes of its tables. The engine has no clock and does no I/O. */
import type { OwnToken } from "../identity/identity.ts";
import type { IdentityCache } from "../identity/verifier.ts";
import type { Attributes } from "../policy/attributes.ts";
import type { CompiledPolicy } from "../policy/evaluate.ts";
import type { NetworkMap } from "../policy/networks.ts";
import type { AnsweredRoom } from "./answered-ring.ts";
import type { Scratch } from "./scratch.ts";

/** Bounds of one PU's tables. At each of them the oldest entry that is not proven leaves. */
export interface EngineLimits {
  /** Client: SYNs sent and not finished. */
  readonly pending: number;
  /** Server: half-open connections in all, and for one client token. */
  readonly halfOpen: number;
  readonly halfOpenPerToken: number;
  /** Server: candidates for one 4-tuple (other ISN or nonce). */
  readonly candidatesPerFlow: number;
  /** Flows judged by address whose handshake is not finished, and so again for each direction. */
  readonly addressFlows: number;
  /** Flows authorised lately, whose queued segments still come. */
  readonly recent: number;
  readonly recentMs: number;
  /** Server: entries of the ring that rebuilds repeated SYN-ACKs, 128 bytes each. */
  readonly answered: number;
  /** Handshakes that have gone silent. */
  readonly silentMs: number;
  /** Refused SYNs and datagrams that are known when they are sent again. */
  readonly refused: number;
  /** Resets sent in answer to segments that belong to nothing. */
  readonly resetsPerSecond: number;
  /** Destinations whose path MTU is known to be below the interface's, and for how long. */
  readonly paths: number;
  readonly pathMs: number;
}

export const defaultLimits: EngineLimits = {
  pending: 4096,
  halfOpen: 4096,
  halfOpenPerToken: 256,
  candidatesPerFlow: 4,
  addressFlows: 4096,
  recent: 4096,
  recentMs: 30_000,
  answered: 256,
  silentMs: 75_000,
  refused: 1024,
  resetsPerSecond: 100,
  paths: 1024,
  pathMs: 600_000,
};

/** What the datapath gives every engine of a worker. */
export interface EngineEnvironment {
  readonly identities: Pick<IdentityCache, "lookup" | "pairKeys" | "doubt">;
  readonly networks: NetworkMap;
  /** The policy in force now. */
  readonly policy: () => CompiledPolicy;
  /** Fills all of it with cryptographically random bytes. */
  readonly fillRandom: (into: Uint8Array) => void;
  readonly limits: EngineLimits;
  /** What the rings of all engines hold together. */
  readonly answeredRoom: AnsweredRoom;
  /** The worker's one set of buffers, made by `new Scratch()`; engines take turns. */
  readonly scratch: Scratch;
}

/** The PU that an engine acts for. */
export interface ProcessingUnit {
  /** 16 hexadecimal digits. */
  readonly id: string;
  readonly attributes: Attributes;
  /** The current token, or undefined while none could be minted. The engine keeps the ones that handshakes in hand refer to. */
  readonly token: () => OwnToken | undefined;
  /** Of the PU's interface, in bytes. */
  readonly mtu: number;
}
