/** Owns the parsing of IPv4 and IPv6 headers, extension headers included. Sources: RFC 791, 8200, 4302, 5095. */
import type { Reason } from "../reason.ts";
import { readU8, readU16, readU32 } from "./bytes.ts";
import type { Packet } from "./packet.ts";

const ipv4HeaderLength = 20;
const ipv6HeaderLength = 40;
/** MF and the offset, but not DF (RFC 791 §3.1). */
const ipv4FragmentMask = 0x3fff;
/** More than any stack sends; each kind but destination options occurs once (RFC 8200 §4.1). */
const maximumExtensions = 8;

const hopByHop = 0;
const routing = 43;
const fragment = 44;
const authentication = 51;
const destinationOptions = 60;
const mobility = 135;
const hostIdentity = 139;
const shim6 = 140;

/** Where an IP header chain ends. */
interface Transport {
  protocol: number;
  transportOffset: number;
}

/** Fills the IP part of `into` from `buffer[offset, limit)`. */
export function parseIpv4(
  buffer: Uint8Array,
  offset: number,
  limit: number,
  into: Packet,
): Reason | undefined {
  if (limit - offset < ipv4HeaderLength) return "packet-truncated";
  const headerLength = ipv4LengthAt(buffer, offset);
  const totalLength = readU16(buffer, offset + 2);
  if (headerLength < ipv4HeaderLength || totalLength < headerLength) return "packet-malformed";
  if (totalLength > limit - offset) return "packet-truncated";
  if ((readU16(buffer, offset + 6) & ipv4FragmentMask) !== 0) return "packet-fragment";
  into.version = 4;
  into.networkOffset = offset;
  into.transportOffset = offset + headerLength;
  into.end = offset + totalLength;
  into.protocol = readU8(buffer, offset + 9);
  into.sourceOffset = offset + 12;
  into.destinationOffset = offset + 16;
  if (headerLength === ipv4HeaderLength) return undefined;
  return checkIpv4Options(buffer, offset + ipv4HeaderLength, offset + headerLength);
}

/** Header length in bytes, unchecked. */
export function ipv4LengthAt(buffer: Uint8Array, offset: number): number {
  return (readU8(buffer, offset) & 0x0f) * 4;
}

/** Source routes are refused: the header's destination would not be the packet's, nor that of its checksum. */
function checkIpv4Options(buffer: Uint8Array, start: number, end: number): Reason | undefined {
  for (let at = start; at < end;) {
    const kind = readU8(buffer, at);
    if (kind === 0) return undefined;
    if (kind === 1) {
      at++;
      continue;
    }
    if (kind === 131 || kind === 137) return "packet-address";
    if (at + 1 >= end) return "packet-options";
    const length = readU8(buffer, at + 1);
    if (length < 2 || at + length > end) return "packet-options";
    at += length;
  }
  return undefined;
}

/** Fills the IP part of `into` from `buffer[offset, limit)`. */
export function parseIpv6(
  buffer: Uint8Array,
  offset: number,
  limit: number,
  into: Packet,
): Reason | undefined {
  if (limit - offset < ipv6HeaderLength) return "packet-truncated";
  const end = offset + ipv6HeaderLength + readU16(buffer, offset + 4);
  if (end > limit) return "packet-truncated";
  into.version = 6;
  into.networkOffset = offset;
  into.end = end;
  into.sourceOffset = offset + 8;
  into.destinationOffset = offset + 24;
  if (isMapped(buffer, into.sourceOffset) || isMapped(buffer, into.destinationOffset)) {
    return "packet-address";
  }
  return walkIpv6(buffer, offset, end, into);
}

/** An IPv4-mapped address in an IPv6 header would pose as the IPv4 address (RFC 4942 §2.2). */
function isMapped(buffer: Uint8Array, at: number): boolean {
  return readU32(buffer, at + 8) === 0x0000ffff && readU32(buffer, at) === 0 && readU32(buffer, at + 4) === 0;
}

/** Walks from the fixed IPv6 header at `offset` to the transport. */
export function walkIpv6(
  buffer: Uint8Array,
  offset: number,
  end: number,
  into: Transport,
): Reason | undefined {
  let next = readU8(buffer, offset + 6);
  let at = offset + ipv6HeaderLength;
  for (let count = 0; isExtension(next); count++) {
    if (at + 8 > end) return "packet-truncated";
    const refusal = refuseExtension(next, count, readU8(buffer, at + 3));
    if (refusal !== undefined) return refusal;
    next = readU8(buffer, at);
    at += (readU8(buffer, at + 1) + 1) * 8;
    if (at > end) return "packet-truncated";
  }
  into.protocol = next;
  into.transportOffset = at;
  return undefined;
}

function isExtension(next: number): boolean {
  switch (next) {
    case hopByHop:
    case routing:
    case fragment:
    case authentication:
    case destinationOptions:
    case mobility:
    case hostIdentity:
    case shim6:
      return true;
    default:
      return false;
  }
}

/** `byte3` is a routing header's count of segments left: where any is, the destination is not yet the final one. */
function refuseExtension(kind: number, position: number, byte3: number): Reason | undefined {
  if (kind === fragment) return "packet-fragment";
  if (kind === routing) return byte3 === 0 ? checkPosition(position) : "packet-address";
  if (kind === hopByHop) return position === 0 ? undefined : "packet-extension";
  return kind === destinationOptions ? checkPosition(position) : "packet-extension";
}

function checkPosition(position: number): Reason | undefined {
  return position < maximumExtensions ? undefined : "packet-extension";
}
