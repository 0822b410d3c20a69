/** Owns the rewriting of TCP segments: payload, options, window, lengths and checksums. Sources: RFC 9293, 6994 and PROTOCOL.md. */
import type { Reason } from "../reason.ts";
import { copyShort, readU8, writeU16 } from "./bytes.ts";
import { finishSum } from "./checksum.ts";
import type { Addition } from "./option-writer.ts";
import { writeOptions } from "./option-writer.ts";
import { optionMarker, optionTag, Packet, protocolTcp, tcpFin, tcpPsh } from "./packet.ts";

const tcpFixedLength = 20;
const ipv6FixedLength = 40;
const maximumPacketLength = 65_535;
const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** A 16-bit number as a native-order word holds it when its bytes lie in network order. */
function nativeWord(value: number): number {
  return littleEndian ? ((value & 0xff) << 8) | (value >>> 8) : value;
}

/**
 * Builds the replacement of one TCP packet at a time in a buffer of its own. Use: `begin`, any of the edits, `finish`.
 *
 * IP headers (options and extension headers too), ports, numbers and flags stay as they are, unless an edit says
 * otherwise; lengths, data offset and checksums are computed anew.
 */
export class TcpRewriter {
  /** 16-bit aligned, so that checksums add whole native words (RFC 1071 §2(B): the sum doesn't depend on byte order). */
  readonly #words = new Uint16Array((maximumPacketLength + 1) / 2 + 32);
  readonly #output = new Uint8Array(this.#words.buffer);
  #packet = new Packet();
  #removed = 0;
  #addition: Addition = undefined;
  #payload: Uint8Array | undefined = undefined;
  #limit = maximumPacketLength;
  #window = -1;

  /**
   * Starts with a packet that `parsePacket` took as TCP; it must stay unchanged until `finish` and may not lie in this
   * rewriter's buffer. Until an edit says otherwise all options and the payload are kept.
   */
  begin(packet: Packet): void {
    this.#packet = packet;
    this.#removed = 0;
    this.#addition = undefined;
    this.#payload = undefined;
    this.#limit = maximumPacketLength;
    this.#window = -1;
  }

  /**
   * Removes options by their `option…` bits (marker, tag, Fast Open, Multipath, SACK, accurate ECN). In a segment with
   * MD5 or AO only our own (marker, tag) are removed, whatever the mask.
   */
  removeOptions(mask: number): void {
    this.#removed |= mask;
  }

  /** Adds the 4-byte marker option, in place of one that is there. */
  insertMarker(): void {
    this.#removed |= optionMarker;
    this.#addition = "marker";
  }

  /** Adds the 20-byte option with the 16 bytes of tag C (borrowed until `finish`), in place of one that is there. */
  insertTag(tag: Uint8Array): void {
    this.#removed |= optionTag;
    this.#addition = tag;
  }

  /** Leaves out the whole payload. */
  dropPayload(): void {
    this.#payload = noPayload;
  }

  /** Puts `payload` (borrowed until `finish`) in the payload's place. */
  replacePayload(payload: Uint8Array): void {
    this.#payload = payload;
  }

  /**
   * Limits the whole IP packet to `bytes`, by cutting the end of the segment's own payload. Where something is cut, FIN
   * and PSH are cleared: TCP sends the rest, and them, again. A payload of ours is never cut (`packet-too-big`).
   */
  limitPacket(bytes: number): void {
    this.#limit = Math.min(bytes, maximumPacketLength);
  }

  /** Sets the window field as it is on the wire (unscaled 16 bits). */
  setWindow(window: number): void {
    this.#window = window;
  }

  /**
   * The finished packet, in the rewriter's own buffer: valid until the next `begin`. A reason if the option doesn't fit
   * (`options-full`; advisory options have given way first) or the packet exceeds its limit (`packet-too-big`).
   */
  finish(): Uint8Array | Reason {
    const { buffer, networkOffset, transportOffset } = this.#packet;
    const transport = transportOffset - networkOffset;
    const optionsAt = transport + tcpFixedLength;
    copyShort(buffer, networkOffset, transportOffset + tcpFixedLength, this.#output, 0);
    const options = writeOptions(this.#packet, this.#removed, this.#addition, this.#output, optionsAt);
    if (options < 0) return "options-full";
    const end = this.#writePayload(transport, optionsAt + options);
    if (end < 0) return "packet-too-big";
    this.#output[transport + 12] = (readU8(this.#output, transport + 12) & 0x0f) | ((5 + options / 4) << 4);
    if (this.#window >= 0) writeU16(this.#output, transport + 14, this.#window);
    this.#writeLengthAndSums(transport, end);
    return this.#output.subarray(0, end);
  }

  /** Returns the end of the packet, or -1 if it exceeds the limit. */
  #writePayload(transport: number, at: number): number {
    const packet = this.#packet;
    const own = this.#payload;
    const room = this.#limit - at;
    const wanted = own === undefined ? packet.end - packet.payloadOffset : own.length;
    if (room < 0 || (own !== undefined && wanted > room)) return -1;
    const length = Math.min(wanted, room);
    if (own !== undefined) this.#output.set(own, at);
    else copyPayload(packet, length, this.#output, at);
    if (length < wanted) this.#clearFlags(transport, tcpFin | tcpPsh);
    return at + length;
  }

  #clearFlags(transport: number, flags: number): void {
    this.#output[transport + 13] = readU8(this.#output, transport + 13) & ~flags;
  }

  #writeLengthAndSums(transport: number, end: number): void {
    if (this.#packet.version === 4) this.#writeIpv4(transport, end);
    else writeU16(this.#output, 4, end - ipv6FixedLength);
    const [addressesAt, addressesEnd] = this.#packet.version === 4 ? [12, 20] : [8, 40];
    const sumAt = (transport + 16) / 2;
    this.#words[sumAt] = 0;
    if ((end & 1) !== 0) this.#output[end] = 0;
    const pseudo = nativeWord(protocolTcp) + nativeWord(end - transport);
    const addresses = this.#addWords(addressesAt, addressesEnd, pseudo);
    this.#words[sumAt] = finishSum(this.#addWords(transport, end, addresses));
  }

  #writeIpv4(transport: number, end: number): void {
    writeU16(this.#output, 2, end);
    this.#words[5] = 0;
    this.#words[5] = finishSum(this.#addWords(0, transport, 0));
  }

  /** Adds the native words of `[start, end)`, the last rounded up to a whole one. */
  #addWords(start: number, end: number, sum: number): number {
    const words = this.#words;
    const last = (end + 1) >>> 1;
    let total = sum;
    for (let i = start >>> 1; i < last; i++) total += words[i] as number;
    return total;
  }
}

const noPayload = new Uint8Array(0);
/** Up to here a loop copies faster than `set` with its view. */
const shortCopyLength = 64;

function copyPayload(packet: Packet, length: number, into: Uint8Array, at: number): void {
  const { buffer, payloadOffset } = packet;
  const end = payloadOffset + length;
  if (length <= shortCopyLength) copyShort(buffer, payloadOffset, end, into, at);
  else into.set(buffer.subarray(payloadOffset, end), at);
}
