/** Owns the questions that both roles put to policy, and the records of their answers. */
import type { VerifiedIdentity } from "../identity/identity.ts";
import type { Decision } from "../policy/evaluate.ts";
import type { Reason } from "../reason.ts";
import type { EngineState } from "./engine-state.ts";
import type { FlowEnd, FlowRecord } from "./flow-record.ts";
import type { Outcome } from "./outcome.ts";
import { drop } from "./outcome.ts";

/** A refusal that no policy made. */
export function refusal(reason: Reason): Decision {
  return { verdict: "deny", reason, rule: undefined };
}

/** The address rules' answer on the peer of the packet in hand. `port` is the server's. */
export function judgeByAddress(state: EngineState, port: number): Decision {
  const address = state.isInbound ? state.remote() : state.environment.networks.stripNat64(state.remote());
  const direction = state.isInbound ? "ingress" : "egress";
  const { protocol } = state.packet;
  return state.environment
    .policy()
    .evaluateAddress(direction, state.unit.attributes, address, protocol, port);
}

const protocolNames = new Map([
  [1, "icmp"],
  [6, "tcp"],
  [17, "udp"],
  [58, "icmpv6"],
  [132, "sctp"],
]);

/** How a decision was reached, as far as the decision itself doesn't say. */
export interface RecordContext {
  readonly role: "client" | "server";
  readonly proof: FlowRecord["proof"];
  readonly peer?: VerifiedIdentity;
}

/** The record of a decision on the packet in hand. */
export function recordDecision(state: EngineState, decision: Decision, context: RecordContext): FlowRecord {
  const self = ownEnd(state);
  const other = peerEnd(state, context.peer);
  return {
    verdict: decision.verdict,
    reason: decision.reason,
    ...(decision.rule === undefined ? {} : { rule: decision.rule }),
    proof: context.proof,
    reporter: context.role === "client" ? "source" : "destination",
    protocol: protocolNames.get(state.packet.protocol) ?? String(state.packet.protocol),
    source: context.role === "client" ? self : other,
    destination: context.role === "client" ? other : self,
  };
}

/** The server's refusal of the SYN in hand: silent, since its token alone may be a replay; recorded once, however often TCP sends it. */
export function refuseSynQuietly(
  state: EngineState,
  decision: Decision,
  context: Omit<RecordContext, "role">,
): Outcome {
  const { reason } = decision;
  const isNew = state.refused.noteSyn(state.key, state.packet.sequence, reason, state.nowMs);
  if (!isNew) return drop(reason);
  return {
    verdict: "drop",
    reason,
    record: recordDecision(state, decision, { role: "server", ...context }),
  };
}

function ownEnd(state: EngineState): FlowEnd {
  return {
    id: state.unit.id,
    attributes: state.unit.attributes,
    address: state.local().slice(),
    port: state.localPort(),
  };
}

function peerEnd(state: EngineState, peer: VerifiedIdentity | undefined): FlowEnd {
  const end = { address: state.remote().slice(), port: state.remotePort() };
  return peer === undefined ? end : { id: peer.puId, attributes: peer.attributes, ...end };
}
