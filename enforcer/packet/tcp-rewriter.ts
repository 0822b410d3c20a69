/** Owns the rewriting of TCP segments: payload, options, window, lengths and checksums. Sources: RFC 9293, 6994 and PROTOCOL.md. */
import type { Reason } from "../reason.ts";
import type { Packet } from "./packet.ts";

/**
 * Builds the replacement of one TCP packet at a time in a buffer of its own. Use: `begin`, any of the edits, `finish`.
 *
 * IP headers (options and extension headers too), ports, numbers and flags stay as they are, unless an edit says
 * otherwise; lengths, data offset and checksums are computed anew.
 */
export class TcpRewriter {
  /** Starts with a packet that `parsePacket` took; it must stay unchanged until `finish`. Until an edit says otherwise all options and the payload are kept. */
  begin(packet: Packet): void {
    throw new Error("not yet");
  }

  /**
   * Removes options by their `option…` bits (marker, tag, Fast Open, Multipath, SACK, accurate ECN). In a segment with
   * MD5 or AO only our own (marker, tag) are removed, whatever the mask.
   */
  removeOptions(mask: number): void {
    throw new Error("not yet");
  }

  /** Adds the 4-byte marker option, in place of one that is there. */
  insertMarker(): void {
    throw new Error("not yet");
  }

  /** Adds the 20-byte option with the 16 bytes of tag C (borrowed until `finish`), in place of one that is there. */
  insertTag(tag: Uint8Array): void {
    throw new Error("not yet");
  }

  /** Leaves out the whole payload. */
  dropPayload(): void {
    throw new Error("not yet");
  }

  /** Puts `payload` (borrowed until `finish`) in the payload's place. */
  replacePayload(payload: Uint8Array): void {
    throw new Error("not yet");
  }

  /**
   * Cuts the payload's end so that the whole IP packet has at most `bytes`. Where something is cut, FIN and PSH are
   * cleared: TCP sends the rest, and them, again.
   */
  limitPacket(bytes: number): void {
    throw new Error("not yet");
  }

  /** Sets the window field as it is on the wire (unscaled 16 bits). */
  setWindow(window: number): void {
    throw new Error("not yet");
  }

  /**
   * The finished packet, in the rewriter's own buffer: valid until the next `begin`. A reason if the option doesn't fit
   * (`options-full`; advisory options have given way first) or the packet would exceed 65,535 bytes (`packet-too-big`).
   */
  finish(): Uint8Array | Reason {
    throw new Error("not yet");
  }
}
