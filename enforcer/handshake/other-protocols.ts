/** Owns what isn't TCP: judged by address rules, and ICMP errors by what they quote. Source: design, "In the pod's namespace". */
import { protocolTcp } from "../packet/packet.ts";
import { sequenceDifference } from "../packet/sequence.ts";
import type { Decision } from "../policy/evaluate.ts";
import { judgeByAddress, recordDecision } from "./decisions.ts";
import type { EngineState } from "./engine-state.ts";
import { loadQuotedFlowKey } from "./flow-key.ts";
import type { FlowRecord } from "./flow-record.ts";
import type { Outcome } from "./outcome.ts";
import { acceptUnchanged, drop } from "./outcome.ts";
import { leastMtus } from "./path-mtus.ts";

/** A datagram of any protocol but TCP. */
export function judgeDatagram(state: EngineState): Outcome {
  if (state.packet.protocol === protocolTcp) return drop("protocol-unsupported");
  if (state.packet.hasQuote) return state.isInbound ? judgeIcmpError(state) : drop("icmp-unrelated");
  const decision = judgeByAddress(state, state.packet.destinationPort);
  if (decision.verdict === "deny") return refuseDatagram(state, decision);
  return { verdict: "accept", mark: "authorised", packet: undefined, record: record(state, decision) };
}

/** Nobody waits for an answer before sending the next datagram, so a flow's refusals are recorded once a second. */
function refuseDatagram(state: EngineState, decision: Decision): Outcome {
  const { reason } = decision;
  state.loadKey();
  const isDue = state.refused.noteDatagram(state.key, state.packet.protocol, reason, state.nowMs);
  return isDue ? { verdict: "drop", reason, record: record(state, decision) } : drop(reason);
}

function record(state: EngineState, decision: Decision): FlowRecord {
  const role = state.isInbound ? "server" : "client";
  return recordDecision(state, decision, { role, proof: "address" });
}

/** An error about a flow that has no mark yet: it passes only with the exact 4-tuple and a sequence number that is in flight. */
function judgeIcmpError(state: EngineState): Outcome {
  if (state.packet.quoted.protocol !== protocolTcp) return drop("icmp-unrelated");
  loadQuotedFlowKey(state.key, state.packet, state.keySeed);
  if (state.packet.icmpMtu > 0 && quotesMessage(state)) learnMtu(state);
  const isRelated = quotesClient(state) || quotesServer(state) || quotesAddressFlow(state);
  return isRelated ? acceptUnchanged : drop("icmp-unrelated");
}

/** The very segment that carries our message to a peer that hasn't answered it. Only such an error is believed: its maker saw the segment. */
function quotesMessage(state: EngineState): boolean {
  const { sequence } = state.packet.quoted;
  const connection = state.clients.find(state.key);
  if (connection !== undefined) return connection.proof === undefined && connection.isn === sequence;
  return quotesCandidate(state, sequence);
}

function learnMtu(state: EngineState): void {
  const { icmpMtu, version } = state.packet;
  state.paths.learn(state.key, Math.max(icmpMtu, leastMtus[version]), state.nowMs);
}

/** A pending SYN, or any segment between it and the highest sent while the server hasn't answered the tag. */
function quotesClient(state: EngineState): boolean {
  const connection = state.clients.find(state.key);
  if (connection === undefined) return false;
  const { sequence } = state.packet.quoted;
  if (sequence === connection.isn) return true;
  const { proof } = connection;
  return (
    proof !== undefined &&
    sequenceDifference(sequence, connection.isn) > 0 &&
    sequenceDifference(sequence, proof.sentUntil) <= 0
  );
}

function quotesServer(state: EngineState): boolean {
  const { sequence } = state.packet.quoted;
  return state.answered.find(state.key)?.serverIsn === sequence || quotesCandidate(state, sequence);
}

function quotesCandidate(state: EngineState, sequence: number): boolean {
  for (const candidate of state.candidates.ofFlow(state.key))
    if (candidate.answer?.serverIsn === sequence) return true;
  return false;
}

function quotesAddressFlow(state: EngineState): boolean {
  const flow = state.addressFlows.find(state.key);
  return flow?.role === "client" && flow.isn === state.packet.quoted.sequence;
}
