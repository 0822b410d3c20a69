/** Owns the resets that the enforcer itself makes, so that a refusal or a lost state is an error at once and never minutes of silence. */
import { buildReset } from "../packet/reset.ts";
import type { Reason } from "../reason.ts";
import type { EngineState } from "./engine-state.ts";
import type { FlowRecord } from "./flow-record.ts";
import type { Emission, Outcome } from "./outcome.ts";
import { drop } from "./outcome.ts";

function resetTo(state: EngineState, to: Emission["to"]): Emission[] {
  const isAnswer = (to === "peer") === state.isInbound;
  const packet = buildReset(state.packet, isAnswer ? "sender" : "receiver");
  return packet === undefined ? [] : [{ packet, to }];
}

/** Our own SYN is refused: ECONNREFUSED at once, and nothing leaves. */
export function refuseOwnSyn(state: EngineState, reason: Reason, record: FlowRecord): Outcome {
  return { verdict: "drop", reason, record, emit: resetTo(state, "self") };
}

/** The inbound segment becomes a reset for our own kernel, and its sender gets one too. */
export function resetBothInbound(state: EngineState, mark: "none" | "judged", record?: FlowRecord): Outcome {
  const packet = buildReset(state.packet, "receiver");
  if (packet === undefined) return drop("reset-invalid");
  const emit = resetTo(state, "peer");
  return { verdict: "accept", mark, packet, emit, ...(record === undefined ? {} : { record }) };
}

/** A segment that belongs to nothing: reset to both ends, as far as the budget goes. */
export function resetStray(state: EngineState): Outcome {
  if (!state.resets.take(state.nowMs)) return drop("no-connection");
  if (!state.isInbound) return resetBothOutbound(state, "no-connection");
  const outcome = resetBothInbound(state, "none");
  return outcome.verdict === "accept" ? { ...outcome, reason: "no-connection" } : outcome;
}

/** Our own stack's segment doesn't leave: both ends get a reset in its place. */
export function resetBothOutbound(state: EngineState, reason: Reason, record?: FlowRecord): Outcome {
  const emit = [...resetTo(state, "self"), ...resetTo(state, "peer")];
  return { verdict: "drop", reason, emit, ...(record === undefined ? {} : { record }) };
}

/** As `resetStray`, but only the end that sent the segment learns of it. */
export function resetSender(state: EngineState): Outcome {
  if (!state.resets.take(state.nowMs)) return drop("no-connection");
  const emit = resetTo(state, state.isInbound ? "peer" : "self");
  return { verdict: "drop", reason: "no-connection", emit };
}
