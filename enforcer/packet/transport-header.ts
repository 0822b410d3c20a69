/** Owns the parsing of TCP, UDP and ICMP headers and of the packet that an ICMP error quotes. Sources: RFC 9293, 768, 792, 4443, 1191, 8201. */
import type { Reason } from "../reason.ts";
import { readU8, readU16, readU32 } from "./bytes.ts";
import { ipv4LengthAt, walkIpv6 } from "./ip-header.ts";
import { protocolTcp, protocolUdp, tcpAck, tcpFin, tcpRst, tcpSyn, tcpUrg } from "./packet.ts";
import type { Packet, QuotedPacket } from "./packet.ts";
import { parseTcpOptions } from "./tcp-options.ts";

const tcpHeaderLength = 20;
const udpHeaderLength = 8;
const icmpHeaderLength = 8;
/** What an ICMP error quotes of the transport, at least: ports and the TCP sequence number (RFC 792). */
const quotedTransportLength = 8;

export function parseTcp(packet: Packet): Reason | undefined {
  const { buffer, transportOffset: at, end } = packet;
  if (end - at < tcpHeaderLength) return "packet-truncated";
  const headerLength = (readU8(buffer, at + 12) >>> 4) * 4;
  if (headerLength < tcpHeaderLength) return "packet-malformed";
  if (at + headerLength > end) return "packet-truncated";
  packet.flags = readU8(buffer, at + 13);
  if (!areFlagsSane(packet.flags)) return "packet-flags";
  packet.sourcePort = readU16(buffer, at);
  packet.destinationPort = readU16(buffer, at + 2);
  if (packet.sourcePort === 0 || packet.destinationPort === 0) return "packet-address";
  packet.sequence = readU32(buffer, at + 4);
  packet.acknowledgement = readU32(buffer, at + 8);
  packet.window = readU16(buffer, at + 14);
  packet.payloadOffset = at + headerLength;
  if (headerLength === tcpHeaderLength) return undefined;
  return parseTcpOptions(packet, at + tcpHeaderLength, packet.payloadOffset);
}

/** The combinations that stacks send; all others (none at all, SYN+FIN, SYN+RST, SYN+URG, FIN without ACK…) are refused. PSH and ECN bits mean nothing here. */
function areFlagsSane(flags: number): boolean {
  switch (flags & (tcpFin | tcpSyn | tcpRst | tcpAck | tcpUrg)) {
    case tcpSyn:
    case tcpSyn | tcpAck:
    case tcpAck:
    case tcpAck | tcpUrg:
    case tcpFin | tcpAck:
    case tcpFin | tcpAck | tcpUrg:
    case tcpRst:
    case tcpRst | tcpAck:
      return true;
    default:
      return false;
  }
}

export function parseUdp(packet: Packet): Reason | undefined {
  const { buffer, transportOffset: at, end } = packet;
  if (end - at < udpHeaderLength) return "packet-truncated";
  const length = readU16(buffer, at + 4);
  if (length < udpHeaderLength) return "packet-malformed";
  if (length > end - at) return "packet-truncated";
  packet.sourcePort = readU16(buffer, at);
  packet.destinationPort = readU16(buffer, at + 2);
  packet.payloadOffset = at + udpHeaderLength;
  return undefined;
}

export function parseIcmp(packet: Packet): Reason | undefined {
  const { buffer, transportOffset: at, end, version } = packet;
  if (end - at < (version === 4 ? icmpHeaderLength : 4)) return "packet-truncated";
  packet.icmpType = readU8(buffer, at);
  packet.icmpCode = readU8(buffer, at + 1);
  if (version === 4 ? !isIcmp4Error(packet.icmpType) : packet.icmpType >= 128) return undefined;
  if (end - at < icmpHeaderLength) return "packet-truncated";
  packet.icmpMtu = readIcmpMtu(packet);
  packet.hasQuote = true;
  const quote = at + icmpHeaderLength;
  return version === 4 ? parseQuote4(packet, quote) : parseQuote6(packet, quote);
}

/** Unreachable, source quench, redirect, time exceeded, parameter problem. */
function isIcmp4Error(type: number): boolean {
  return type === 3 || type === 4 || type === 5 || type === 11 || type === 12;
}

function readIcmpMtu({ buffer, transportOffset: at, version, icmpType, icmpCode }: Packet): number {
  if (version === 4) return icmpType === 3 && icmpCode === 4 ? readU16(buffer, at + 6) : 0;
  return icmpType === 2 ? readU32(buffer, at + 4) : 0;
}

function parseQuote4(packet: Packet, at: number): Reason | undefined {
  const { buffer, end, quoted } = packet;
  if (end - at < 20) return "packet-truncated";
  const headerLength = ipv4LengthAt(buffer, at);
  if (readU8(buffer, at) >>> 4 !== 4 || headerLength < 20) return "packet-malformed";
  if ((readU16(buffer, at + 6) & 0x1fff) !== 0) return "packet-fragment";
  quoted.version = 4;
  quoted.protocol = readU8(buffer, at + 9);
  quoted.sourceOffset = at + 12;
  quoted.destinationOffset = at + 16;
  quoted.transportOffset = at + headerLength;
  return parseQuotedTransport(buffer, end, quoted);
}

function parseQuote6(packet: Packet, at: number): Reason | undefined {
  const { buffer, end, quoted } = packet;
  if (end - at < 40) return "packet-truncated";
  if (readU8(buffer, at) >>> 4 !== 6) return "packet-malformed";
  quoted.version = 6;
  quoted.sourceOffset = at + 8;
  quoted.destinationOffset = at + 24;
  return walkIpv6(buffer, at, end, quoted) ?? parseQuotedTransport(buffer, end, quoted);
}

function parseQuotedTransport(buffer: Uint8Array, end: number, quoted: QuotedPacket): Reason | undefined {
  const { protocol, transportOffset: at } = quoted;
  quoted.sourcePort = 0;
  quoted.destinationPort = 0;
  quoted.sequence = 0;
  if (protocol !== protocolTcp && protocol !== protocolUdp) return undefined;
  if (end - at < quotedTransportLength) return "packet-truncated";
  quoted.sourcePort = readU16(buffer, at);
  quoted.destinationPort = readU16(buffer, at + 2);
  if (protocol === protocolTcp) quoted.sequence = readU32(buffer, at + 4);
  return undefined;
}
