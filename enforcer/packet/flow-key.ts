/** Owns flow keys: short strings that name protocol and 4-tuple, for use as keys of a `Map`. */
import { readU16 } from "./bytes.ts";
import type { Packet } from "./packet.ts";

/** Key of (protocol, source, source port, destination, destination port) as the packet has them. Opaque, not printable. */
export function flowKey(packet: Packet): string {
  const { buffer, protocol, version, sourceOffset, sourcePort, destinationOffset, destinationPort } = packet;
  const keyOf = version === 4 ? keyOf4 : keyOf6;
  return keyOf(buffer, protocol, sourceOffset, sourcePort, destinationOffset, destinationPort);
}

/** Key of the other direction: what `flowKey` gives for an answer to this packet. */
export function reverseFlowKey(packet: Packet): string {
  const { buffer, protocol, version, sourceOffset, sourcePort, destinationOffset, destinationPort } = packet;
  const keyOf = version === 4 ? keyOf4 : keyOf6;
  return keyOf(buffer, protocol, destinationOffset, destinationPort, sourceOffset, sourcePort);
}

/** Key of the packet that an ICMP error quotes, in that packet's own direction; `packet.hasQuote` must be true. */
export function quotedFlowKey({ buffer, quoted }: Packet): string {
  const { protocol, version, sourceOffset, sourcePort, destinationOffset, destinationPort } = quoted;
  const keyOf = version === 4 ? keyOf4 : keyOf6;
  return keyOf(buffer, protocol, sourceOffset, sourcePort, destinationOffset, destinationPort);
}

/** One UTF-16 unit for each 16 bits: 46 ns, where `latin1Slice` costs 135. */
function keyOf4(
  b: Uint8Array,
  protocol: number,
  from: number,
  port: number,
  to: number,
  toPort: number,
): string {
  return String.fromCharCode(
    protocol,
    readU16(b, from),
    readU16(b, from + 2),
    port,
    readU16(b, to),
    readU16(b, to + 2),
    toPort,
  );
}

function keyOf6(
  b: Uint8Array,
  protocol: number,
  from: number,
  port: number,
  to: number,
  toPort: number,
): string {
  return String.fromCharCode(
    protocol,
    readU16(b, from),
    readU16(b, from + 2),
    readU16(b, from + 4),
    readU16(b, from + 6),
    readU16(b, from + 8),
    readU16(b, from + 10),
    readU16(b, from + 12),
    readU16(b, from + 14),
    port,
    readU16(b, to),
    readU16(b, to + 2),
    readU16(b, to + 4),
    readU16(b, to + 6),
    readU16(b, to + 8),
    readU16(b, to + 10),
    readU16(b, to + 12),
    readU16(b, to + 14),
    toPort,
  );
}
