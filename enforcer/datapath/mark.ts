/** The enforcer's share of a packet's mark: where its state and index lie within the configured mask. Source: design, "In the pod's namespace". */
import type { Mark } from "../handshake/outcome.ts";

/** Shifts and values for one mask; all unsigned 32-bit numbers. */
export interface MarkLayout {
  readonly mask: number;
  /** The value, in place, of each state that a verdict can carry. */
  readonly judged: number;
  readonly authorised: number;
}

/** States, in the top four of the mask's twelve bits. The lower eight, the index, are zero for now. */
const JUDGED = 1;
const AUTHORISED = 5;
const INDEX_BITS = 8;

/** `mask` has twelve contiguous bits (the configuration makes sure). */
export function layoutOf(mask: number): MarkLayout {
  const lowestBit = (mask & -mask) >>> 0;
  const stateUnit = lowestBit * 2 ** INDEX_BITS;
  return { mask: mask >>> 0, judged: (JUDGED * stateUnit) >>> 0, authorised: (AUTHORISED * stateUnit) >>> 0 };
}

/** The packet's whole new mark: others' bits stay as they came. Undefined leaves the mark alone. */
export function verdictMark(layout: MarkLayout, packetMark: number, mark: Mark): number | undefined {
  if (mark === "none") return undefined;
  const state = mark === "judged" ? layout.judged : layout.authorised;
  return ((packetMark & ~layout.mask) | state) >>> 0;
}
