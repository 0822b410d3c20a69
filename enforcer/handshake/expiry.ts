/** Owns the end of handshakes that have gone silent: 75 s after the last SYN or SYN-ACK, longer than a stack repeats either. */
import type { ClientConnection } from "./client-connection.ts";
import type { EngineState } from "./engine-state.ts";
import { flowAddresses } from "./flow-key.ts";
import type { FlowEntry } from "./flow-table.ts";
import type { Expiry } from "./outcome.ts";

interface Aged<Entry extends FlowEntry> {
  oldest(): Entry | undefined;
  remove(entry: Entry): void;
}

function takeSilent<Entry extends FlowEntry>(table: Aged<Entry>, state: EngineState): Entry | undefined {
  const oldest = table.oldest();
  if (oldest === undefined || state.nowMs - oldest.lastMs <= state.environment.limits.silentMs)
    return undefined;
  table.remove(oldest);
  return oldest;
}

/** Ends whatever is due at `nowMs`, in every table. */
export function expireAll(state: EngineState, nowMs: number): Expiry[] {
  state.nowMs = nowMs;
  const expired: Expiry[] = [];
  for (let one = takeSilent(state.clients, state); one; one = takeSilent(state.clients, state))
    expired.push(endClient(state, one));
  for (let one = takeSilent(state.candidates, state); one; one = takeSilent(state.candidates, state))
    expired.push({ action: "forget", reason: "connection-expired", flow: flowAddresses(one.key) });
  while (takeSilent(state.addressFlows, state) !== undefined);
  while (takeSilent(state.refused, state) !== undefined);
  state.answered.expire(nowMs, state.environment.limits.silentMs);
  state.recent.expire(nowMs);
  state.paths.expire(nowMs);
  return expired;
}

/** A server that proved itself and then had nothing to say is authorised all the same. */
function endClient(state: EngineState, connection: ClientConnection): Expiry {
  const flow = flowAddresses(connection.key);
  if (connection.proof === undefined) return { action: "forget", reason: "connection-expired", flow };
  state.recent.remember(connection.key, state.nowMs);
  return { action: "authorise", flow };
}
