/** Owns the Internet checksum: verification and full computation. Sources: RFC 1071, 791, 8200 §8.1, 9293, 768, 792, 4443. */
import type { Reason } from "../reason.ts";
import { readU16 } from "./bytes.ts";
import { protocolIcmp, protocolIcmp6, protocolTcp, protocolUdp } from "./packet.ts";
import type { Packet } from "./packet.ts";

/** Adds the big-endian 16-bit words of `buffer[start, end)` to `sum`; an odd last byte counts as if a zero followed. Fits 32 bits for 64 KiB. */
export function addWords(buffer: Uint8Array, start: number, end: number, sum: number): number {
  const pairsEnd = end - 1;
  let total = sum;
  let at = start;
  for (; at < pairsEnd; at += 2) total += ((buffer[at] as number) << 8) | (buffer[at + 1] as number);
  return at < end ? total + ((buffer[at] as number) << 8) : total;
}

/** The checksum for a sum of words: folded to 16 bits with end-around carry, complemented. */
export function finishSum(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return ~((once & 0xffff) + (once >>> 16)) & 0xffff;
}

/** Sum of the pseudo-header of what lies at `transportOffset` in an IPv4 packet or an IPv6 one. */
function pseudoHeaderSum(packet: Packet): number {
  const { buffer, version, sourceOffset, end, transportOffset, protocol } = packet;
  const addresses = version === 4 ? 8 : 32;
  return addWords(buffer, sourceOffset, sourceOffset + addresses, protocol + end - transportOffset);
}

/** Verifies the IPv4 header's checksum and that of TCP, UDP, ICMP or ICMPv6 (other protocols: none). */
export function verifyChecksums(packet: Packet): Reason | undefined {
  const right = isHeaderSumRight(packet) && isTransportSumRight(packet);
  return right ? undefined : "packet-checksum";
}

function isHeaderSumRight({ buffer, version, networkOffset, transportOffset }: Packet): boolean {
  return version === 6 || finishSum(addWords(buffer, networkOffset, transportOffset, 0)) === 0;
}

function isTransportSumRight(packet: Packet): boolean {
  const { buffer, transportOffset, end } = packet;
  switch (packet.protocol) {
    case protocolUdp:
      return isUdpSumRight(packet);
    case protocolTcp:
    case protocolIcmp6:
      return finishSum(addWords(buffer, transportOffset, end, pseudoHeaderSum(packet))) === 0;
    case protocolIcmp:
      return finishSum(addWords(buffer, transportOffset, end, 0)) === 0;
    default:
      return true;
  }
}

/** UDP's own length counts, not IP's; a checksum of 0 means none, in IPv4 only. */
function isUdpSumRight(packet: Packet): boolean {
  const { buffer, version, transportOffset: at, end } = packet;
  if (readU16(buffer, at + 6) === 0) return version === 4;
  const length = readU16(buffer, at + 4);
  const pseudo = pseudoHeaderSum(packet) - (end - at) + length;
  return finishSum(addWords(buffer, at, at + length, pseudo)) === 0;
}
