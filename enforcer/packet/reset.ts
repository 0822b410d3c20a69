/** Owns the building of RST segments, with the numbers of RFC 9293 §3.5.2 and §3.10.7. */
import type { Packet } from "./packet.ts";

/**
 * Builds the whole IP packet of an RST that follows from `cause`, in a new buffer that the caller owns.
 *
 * - `sender`: answers the segment, from its destination to its source. With ACK: SEQ = SEG.ACK, flags RST. Without:
 *   SEQ = 0, ACK = SEG.SEQ + SEG.LEN, flags RST and ACK; a SYN's length is 1, as its payload is ours, not TCP's.
 * - `receiver`: takes the segment's place, with its addresses, ports and SEQ: to be accepted in its stead or sent on.
 *   Flags RST and ACK with the segment's ACK; RST alone with SEQ + 1 for a SYN.
 *
 * `undefined` if the cause is itself an RST (never answered) or no TCP.
 */
export function buildReset(cause: Packet, towards: "sender" | "receiver"): Uint8Array | undefined {
  throw new Error("not yet");
}
