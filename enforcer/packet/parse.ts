/** Owns the way from bytes to `Packet`. Sources: RFC 791, 8200, 9293, 768, 792, 4443. */
import type { Reason } from "../reason.ts";
import { parseIpv4, parseIpv6 } from "./ip-header.ts";
import { protocolIcmp, protocolIcmp6, protocolTcp, protocolUdp } from "./packet.ts";
import type { Packet } from "./packet.ts";
import { parseIcmp, parseTcp, parseUdp } from "./transport-header.ts";

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
  if (length < 1 || offset + length > buffer.length) return "packet-truncated";
  reset(into, buffer);
  const version = (buffer[offset] as number) >>> 4;
  if (version !== 4 && version !== 6) return "packet-malformed";
  const parse = version === 4 ? parseIpv4 : parseIpv6;
  return parse(buffer, offset, offset + length, into) ?? parseTransport(into);
}

function reset(packet: Packet, buffer: Uint8Array): void {
  packet.buffer = buffer;
  packet.sourcePort = 0;
  packet.destinationPort = 0;
  packet.sequence = 0;
  packet.acknowledgement = 0;
  packet.flags = 0;
  packet.window = 0;
  packet.options = 0;
  packet.tagOffset = -1;
  packet.icmpType = 0;
  packet.icmpCode = 0;
  packet.icmpMtu = 0;
  packet.hasQuote = false;
}

function parseTransport(packet: Packet): Reason | undefined {
  packet.payloadOffset = packet.transportOffset;
  switch (packet.protocol) {
    case protocolTcp:
      return parseTcp(packet);
    case protocolUdp:
      return parseUdp(packet);
    case protocolIcmp:
      return packet.version === 4 ? parseIcmp(packet) : "protocol-unsupported";
    case protocolIcmp6:
      return packet.version === 6 ? parseIcmp(packet) : "protocol-unsupported";
    default:
      return undefined;
  }
}
