/** Owns the one way over variable-length formats: a reader that can't leave its bytes, and a writer that can't leave its buffer. Big-endian. */
import { readU16, writeU16 } from "./bytes.ts";

/** Reads from the front. A read beyond the end fails for good: it and all later ones give 0 or nothing, and `failed` tells. */
export class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;
  failed = false;

  /** Borrows `bytes`; what `take` and `rest` return are views of them. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    const at = this.#advance(1);
    return at < 0 ? 0 : (this.#bytes[at] as number);
  }

  u16(): number {
    const at = this.#advance(2);
    return at < 0 ? 0 : readU16(this.#bytes, at);
  }

  take(length: number): Uint8Array {
    const at = this.#advance(length);
    return at < 0 ? nothing : this.#bytes.subarray(at, at + length);
  }

  #advance(length: number): number {
    if (this.failed || length < 0 || length > this.remaining) {
      this.failed = true;
      return -1;
    }
    this.#at += length;
    return this.#at - length;
  }
}

/** Writes from the front of a buffer that stays the caller's. Throws RangeError where a value or the buffer is too small: the caller's defect. */
export class Writer {
  readonly #buffer: Uint8Array;
  #at = 0;

  constructor(buffer: Uint8Array) {
    this.#buffer = buffer;
  }

  /** Bytes written. */
  get length(): number {
    return this.#at;
  }

  u8(value: number): void {
    if (value > 0xff) throw new RangeError(`${value} doesn't fit 8 bits`);
    const at = this.#advance(1);
    this.#buffer[at] = value;
  }

  u16(value: number): void {
    if (value > 0xffff) throw new RangeError(`${value} doesn't fit 16 bits`);
    writeU16(this.#buffer, this.#advance(2), value);
  }

  put(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#advance(bytes.length));
  }

  #advance(length: number): number {
    if (this.#at + length > this.#buffer.length) {
      throw new RangeError(`buffer of ${this.#buffer.length} bytes is too small`);
    }
    this.#at += length;
    return this.#at - length;
  }
}

const nothing = new Uint8Array(0);
