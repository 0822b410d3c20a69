/** Owns the way from bytes to `Packet`. Sources: RFC 791, 8200, 9293, 768, 792, 4443. */
import type { Reason } from "../reason.ts";
import type { Packet } from "./packet.ts";

/**
 * Parses the IP packet at `buffer[offset, offset + length)` into `into`, without allocating; `buffer` stays the caller's.
 *
 * Every length is checked, nothing else is believed: no checksum is verified. Returns why the packet can't be judged,
 * or `undefined`. Bytes after the IP header's own length are ignored.
 */
export function parsePacket(
  buffer: Uint8Array,
  offset: number,
  length: number,
  into: Packet,
): Reason | undefined {
  throw new Error("not yet");
}
