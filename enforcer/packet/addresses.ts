/** Owns 16-byte addresses: IPv6 as it is, IPv4 mapped (::ffff:a.b.c.d, RFC 4291 §2.5.5.2). */
import type { Packet, QuotedPacket } from "./packet.ts";

/** Writes the 16-byte source address to `into[at, at + 16)`, a buffer that the caller owns. */
export function writeSourceAddress(packet: Packet, into: Uint8Array, at = 0): void {
  throw new Error("not yet");
}

/** Writes the 16-byte destination address to `into[at, at + 16)`, a buffer that the caller owns. */
export function writeDestinationAddress(packet: Packet, into: Uint8Array, at = 0): void {
  throw new Error("not yet");
}

/** Whether two 16-byte addresses are equal. */
export function addressesEqual(a: Uint8Array, b: Uint8Array): boolean {
  throw new Error("not yet");
}
