/**
 * Owns TCP with peers that have no identity (outside the managed networks, or listed as unmanaged), judged by address rules alone.
 * No token is ever sent to them. A flow is remembered from its SYN, so that its SYN-ACK, which is always queued, passes as judged.
 */
import { optionFastOpen, optionMultipath, payloadLength } from "../packet/packet.ts";
import { sequenceAdd } from "../packet/sequence.ts";
import { judgeByAddress, recordDecision, refusal, refuseSynQuietly } from "./decisions.ts";
import type { EngineState } from "./engine-state.ts";
import { copyFlowKey } from "./flow-key.ts";
import type { FlowEntry } from "./flow-table.ts";
import type { Mark, Outcome } from "./outcome.ts";
import { drop } from "./outcome.ts";
import { refuseOwnSyn } from "./resets.ts";

export interface AddressFlow extends FlowEntry {
  nextInBucket: this | undefined;
  older: this | undefined;
  newer: this | undefined;
  readonly role: "client" | "server";
  readonly isn: number;
}

/** Options that a SYN or SYN-ACK never keeps: TCP falls back to what can be judged. */
export const unwantedOptions = optionFastOpen | optionMultipath;

/** Accepts the SYN or SYN-ACK in hand without data and unwanted options; rewritten only if it has any. */
function acceptBare(state: EngineState, mark: Mark): Outcome {
  const { packet, rewriter } = state;
  if (payloadLength(packet) === 0 && (packet.options & unwantedOptions) === 0)
    return { verdict: "accept", mark, packet: undefined };
  rewriter.begin(packet);
  rewriter.removeOptions(unwantedOptions);
  rewriter.dropPayload();
  const rewritten = rewriter.finish();
  return typeof rewritten === "string" ? drop(rewritten) : { verdict: "accept", mark, packet: rewritten };
}

function remember(state: EngineState, role: AddressFlow["role"]): boolean {
  const { addressFlows, key, packet, nowMs } = state;
  const known = addressFlows.find(key);
  const isRepeated = known?.role === role && known.isn === packet.sequence;
  if (known !== undefined) addressFlows.remove(known);
  const oldest = addressFlows.full ? addressFlows.oldest() : undefined;
  if (oldest !== undefined) addressFlows.remove(oldest);
  if (oldest !== undefined) state.evicted += 1;
  addressFlows.add({
    key: copyFlowKey(key),
    lastMs: nowMs,
    nextInBucket: undefined,
    older: undefined,
    newer: undefined,
    role,
    isn: packet.sequence,
  });
  return isRepeated;
}

/** Our own SYN to a peer without identity: the mark goes on the SYN itself. */
export function sendAddressSyn(state: EngineState): Outcome {
  const decision = judgeByAddress(state, state.remotePort());
  const record = recordDecision(state, decision, { role: "client", proof: "address" });
  if (decision.verdict === "deny") return refuseOwnSyn(state, decision.reason, record);
  const isRepeated = remember(state, "client");
  state.recent.remember(state.key, state.nowMs);
  return withRecord(acceptBare(state, "authorised"), isRepeated ? undefined : record);
}

/** A SYN without a token. */
export function receivePlainSyn(state: EngineState): Outcome {
  const source = state.environment.networks.classify(state.remote(), 0, state.packet.protocol);
  if (source === "pod" || source === "service")
    return refuseSynQuietly(state, refusal("token-missing"), { proof: "none" });
  const decision = judgeByAddress(state, state.localPort());
  if (decision.verdict === "deny") return refuseSynQuietly(state, decision, { proof: "address" });
  const record = recordDecision(state, decision, { role: "server", proof: "address" });
  const isRepeated = remember(state, "server");
  return withRecord(acceptBare(state, "judged"), isRepeated ? undefined : record);
}

/** The SYN-ACK of one of these flows, in either direction; undefined if it answers none. */
export function passAddressSynAck(state: EngineState): Outcome | undefined {
  const flow = state.addressFlows.find(state.key);
  const role = state.isInbound ? "client" : "server";
  if (flow?.role !== role) return undefined;
  if (state.packet.acknowledgement !== sequenceAdd(flow.isn, 1)) return undefined;
  state.addressFlows.touch(flow, state.nowMs);
  state.recent.remember(state.key, state.nowMs);
  return acceptBare(state, state.isInbound ? "judged" : "authorised");
}

function withRecord(outcome: Outcome, record: ReturnType<typeof recordDecision> | undefined): Outcome {
  return record === undefined || outcome.verdict === "hold" ? outcome : { ...outcome, record };
}
