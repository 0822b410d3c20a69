/** Owns the shape of a parsed packet: offsets into borrowed bytes and header fields in host order. Sources: RFC 791, 8200, 9293, 792, 4443. */

/** TCP flag bits, as in byte 13 of the header (RFC 9293 §3.1). The ECN bits (CWR, ECE, and AE in byte 12) are never compared. */
export const tcpFin = 0x01;
export const tcpSyn = 0x02;
export const tcpRst = 0x04;
export const tcpPsh = 0x08;
export const tcpAck = 0x10;
export const tcpUrg = 0x20;

export const protocolIcmp = 1;
export const protocolTcp = 6;
export const protocolUdp = 17;
export const protocolIcmp6 = 58;

/** Bits of `Packet.options`: which TCP options that matter to us a segment carries. */
export const optionMarker = 0x01;
export const optionTag = 0x02;
/** TCP Fast Open: kind 34, or kind 254 with ExID F989 (RFC 7413). */
export const optionFastOpen = 0x04;
/** Multipath TCP: kind 30 (RFC 8684). */
export const optionMultipath = 0x08;
/** TCP MD5 (kind 19, RFC 2385) or TCP-AO (kind 29, RFC 5925): no other option of the segment may be touched. */
export const optionSigned = 0x10;
/** SACK blocks: kind 5 (RFC 2018); not SACK-permitted. Advisory. */
export const optionSack = 0x20;
/** Accurate ECN: kinds 172 and 174 (RFC 9768). Advisory. */
export const optionAccurateEcn = 0x40;

/**
 * The packet that an ICMP error quotes: one that the receiver of the error sent, or so the error says. Nothing of it is
 * verified, and addresses lie in the buffer of the packet that quotes it.
 */
export class QuotedPacket {
  version: 4 | 6 = 4;
  protocol = 0;
  transportOffset = 0;
  sourceOffset = 0;
  destinationOffset = 0;
  /** 0 unless `protocol` is TCP or UDP. */
  sourcePort = 0;
  destinationPort = 0;
  /** TCP sequence number, unsigned; 0 otherwise. */
  sequence = 0;
}

/**
 * One parsed packet. A reused, mutable struct: `parsePacket` overwrites every field, and a field is meaningful only if
 * it returned no reason. Offsets are absolute in `buffer`, which is borrowed and never kept. Checksums aren't verified
 * (see `verifyChecksums`). Numbers are unsigned and in host order.
 */
export class Packet {
  buffer: Uint8Array = new Uint8Array(0);
  version: 4 | 6 = 4;
  /** Of the IP header. */
  networkOffset = 0;
  /** Of the TCP, UDP or ICMP header, or of what follows the IP headers of any other protocol. */
  transportOffset = 0;
  /** Of the TCP or UDP payload; `transportOffset` for other protocols. */
  payloadOffset = 0;
  /** First byte after the packet, by the IP header's own length. */
  end = 0;
  /** IP protocol number of the transport, after IPv6 extension headers. */
  protocol = 0;
  sourceOffset = 0;
  destinationOffset = 0;
  /** 0 unless `protocol` is TCP or UDP. Never 0 for TCP. */
  sourcePort = 0;
  destinationPort = 0;

  // TCP only; 0 otherwise
  sequence = 0;
  acknowledgement = 0;
  /** Byte 13 of the header, ECN bits included: compare with `& tcpSyn` and the like. */
  flags = 0;
  window = 0;
  /** Bits `option…`. */
  options = 0;
  /** Of the 16 bytes of tag C; -1 if the segment has no tag option. */
  tagOffset = -1;

  // ICMP and ICMPv6 only; 0 otherwise
  icmpType = 0;
  icmpCode = 0;
  /** Next-hop MTU of "fragmentation needed" and "packet too big"; 0 otherwise, and also 0 if an old router left it out. */
  icmpMtu = 0;
  /** The ICMP message is an error: `quoted` is filled. */
  hasQuote = false;
  readonly quoted = new QuotedPacket();
}

/** Payload bytes of a TCP or UDP packet. */
export function payloadLength(packet: Packet): number {
  return packet.end - packet.payloadOffset;
}
