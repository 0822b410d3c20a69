/** Owns the question that people ask: may this one connect to that one. Both ends must allow; an end without identity has no say. */
import type { Reason } from "../reason.ts";
import type { Attributes } from "./attributes.ts";
import type { CompiledPolicy } from "./evaluate.ts";
import type { Decision, Direction } from "./model.ts";

/** One end of a connection: a unit with its verified attributes, or an address (16 bytes, IPv4 mapped) without identity. */
export type Endpoint =
  | { readonly kind: "unit"; readonly attributes: Attributes }
  | { readonly kind: "address"; readonly address: Uint8Array };

/** At least one end must be a unit. Between two units only TCP is judged, since only TCP carries identities. */
export interface ConnectionQuestion {
  readonly from: Endpoint;
  readonly to: Endpoint;
  /** IP protocol number. */
  readonly protocol: number;
  /** The server's; 0 where the protocol has none. */
  readonly port: number;
}

/** What one end says. */
export interface EndDecision extends Decision {
  readonly end: Direction;
}

export interface ConnectionAnswer {
  readonly verdict: "allow" | "deny";
  /** Of the first end that denies, the client's before the server's; where both allow, of the last one. */
  readonly reason: Reason;
  /** The client's egress, then the server's ingress; an end that is an address is left out. */
  readonly ends: readonly EndDecision[];
}

/** Asks both ends, as the datapaths of two nodes would. */
export function judgeConnection(policy: CompiledPolicy, question: ConnectionQuestion): ConnectionAnswer {
  const { from, to } = question;
  const egress = from.kind === "unit" ? [judgeEnd(policy, "egress", from.attributes, to, question)] : [];
  const ingress = to.kind === "unit" ? [judgeEnd(policy, "ingress", to.attributes, from, question)] : [];
  const ends = [...egress, ...ingress];
  const deciding = ends.find((end) => end.verdict === "deny") ?? ends.at(-1);
  if (deciding === undefined) return { verdict: "deny", reason: "unit-unknown", ends };
  return { verdict: deciding.verdict, reason: deciding.reason, ends };
}

function judgeEnd(
  policy: CompiledPolicy,
  end: Direction,
  self: Attributes,
  peer: Endpoint,
  { protocol, port }: ConnectionQuestion,
): EndDecision {
  const decision =
    peer.kind === "unit"
      ? policy.evaluate(end, self, peer.attributes, "tcp", port)
      : policy.evaluateAddress(end, self, peer.address, protocol, port);
  return { end, ...decision };
}
