/** The enforcer's share of a packet's mark, as a verdict sets it. The layout is the rule set's. Source: design, "In the pod's namespace". */
import { markLayout, queues } from "../../plugin/rule-set.ts";
import type { Mark, Queue } from "../handshake/outcome.ts";

/** Values for one mask; all unsigned 32-bit numbers. */
export interface VerdictMarks {
  readonly mask: number;
  /** Of a packet: what a verdict can say. */
  readonly judged: number;
  readonly authorising: number;
  /** Of a connection. */
  readonly authorised: number;
}

/** `mask` has twelve contiguous bits (the configuration makes sure). */
export function verdictMarks(mask: number): VerdictMarks {
  const { judged, authorising, authorised } = markLayout(mask);
  return { mask: mask >>> 0, judged, authorising, authorised };
}

/** The packet's whole new mark: others' bits stay as they came. Undefined leaves the mark alone. */
export function verdictMark(marks: VerdictMarks, packetMark: number, mark: Mark): number | undefined {
  if (mark === "none") return undefined;
  const value = mark === "judged" ? marks.judged : marks.authorising;
  return ((packetMark & ~marks.mask) | value) >>> 0;
}

/**
 * Whether the chain that queues these saves a mark itself, when it sees the packet again (NF_REPEAT): those behind conntrack do. With rules
 * that don't, an inbound packet comes back once, with its mark; an outbound one, which is sealed anew each time, until the rules are put right.
 */
export function isSavedWhereQueued(queue: Queue): boolean {
  return queue !== queues.inboundSyn && queue !== queues.inboundSynAck;
}
