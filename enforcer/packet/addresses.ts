/** Owns 16-byte addresses: IPv6 as it is, IPv4 mapped (::ffff:a.b.c.d, RFC 4291 §2.5.5.2). */
import { copyShort } from "./bytes.ts";
import type { Packet } from "./packet.ts";

/** Writes the 16-byte source address to `into[at, at + 16)`, a buffer that the caller owns. */
export function writeSourceAddress(packet: Packet, into: Uint8Array, at = 0): void {
  writeAddress(packet, packet.sourceOffset, into, at);
}

/** Writes the 16-byte destination address to `into[at, at + 16)`, a buffer that the caller owns. */
export function writeDestinationAddress(packet: Packet, into: Uint8Array, at = 0): void {
  writeAddress(packet, packet.destinationOffset, into, at);
}

function writeAddress({ buffer, version }: Packet, offset: number, into: Uint8Array, at: number): void {
  if (version === 6) {
    copyShort(buffer, offset, offset + 16, into, at);
    return;
  }
  for (let i = 0; i < 10; i++) into[at + i] = 0;
  into[at + 10] = 0xff;
  into[at + 11] = 0xff;
  copyShort(buffer, offset, offset + 4, into, at + 12);
}

/** Whether two 16-byte addresses are equal. */
export function addressesEqual(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < 16; i++) if (a[i] !== b[i]) return false;
  return true;
}
