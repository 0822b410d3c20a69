/** Owns big-endian reads and writes of unsigned integers in plain byte arrays, without a DataView to allocate. The caller has checked the bounds. */

export function readU8(buffer: Uint8Array, at: number): number {
  return buffer[at] as number;
}

export function readU16(buffer: Uint8Array, at: number): number {
  return ((buffer[at] as number) << 8) | (buffer[at + 1] as number);
}

export function readU32(buffer: Uint8Array, at: number): number {
  return ((readU16(buffer, at) << 16) | readU16(buffer, at + 2)) >>> 0;
}

export function writeU16(buffer: Uint8Array, at: number, value: number): void {
  buffer[at] = value >>> 8;
  buffer[at + 1] = value;
}

export function writeU32(buffer: Uint8Array, at: number, value: number): void {
  writeU16(buffer, at, value >>> 16);
  writeU16(buffer, at + 2, value & 0xffff);
}

/** Copies a few bytes; for more than about 100, `Uint8Array.set` is faster. */
export function copyShort(from: Uint8Array, start: number, end: number, into: Uint8Array, at: number): void {
  for (let i = start, o = at; i < end; i++, o++) into[o] = from[i] as number;
}
