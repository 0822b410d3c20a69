/** The enforcer's share of a packet's mark, as a verdict sets it. The layout is the rule set's. Source: design, "In the pod's namespace". */
import { markLayout } from "../../plugin/rule-set.ts";
import type { Mark } from "../handshake/outcome.ts";

/** Values for one mask; all unsigned 32-bit numbers. */
export interface VerdictMarks {
  readonly mask: number;
  /** The value, in place, of each state that a verdict can carry. */
  readonly judged: number;
  readonly authorised: number;
}

/** `mask` has twelve contiguous bits (the configuration makes sure). */
export function verdictMarks(mask: number): VerdictMarks {
  const { judged, authorised } = markLayout(mask);
  return { mask: mask >>> 0, judged, authorised };
}

/** The packet's whole new mark: others' bits stay as they came. Undefined leaves the mark alone. */
export function verdictMark(marks: VerdictMarks, packetMark: number, mark: Mark): number | undefined {
  if (mark === "none") return undefined;
  return ((packetMark & ~marks.mask) | marks[mark]) >>> 0;
}
