/** Owns strict CBOR: the one decoder and encoder of signed objects, around `cborg`. Source: RFC 8949, sections 4.2.1 (core deterministic encoding) and 5.6. */
import { decode, encode, rfc8949EncodeOptions, type Token, Tokenizer, Type } from "cborg";

/** What our objects are made of. No floats, tags, null, undefined, bigint. */
export type CborValue = number | string | boolean | Uint8Array | readonly CborValue[] | CborMap;
export type CborMap = ReadonlyMap<number | string, CborValue>;

const maximumDepth = 8;

const decodeOptions = {
  strict: true,
  useMaps: true,
  rejectDuplicateMapKeys: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowBigInt: false,
  allowInfinity: false,
  allowNaN: false,
};

/** Counts the containers that are open, so that nesting ends at `maximumDepth` and not at the end of the stack. */
class DepthLimitedTokenizer extends Tokenizer {
  readonly #missing: number[] = [];

  override next(): Token {
    const token = super.next();
    this.#close();
    const items = itemsOf(token);
    if (items > 0) this.#missing.push(items);
    if (this.#missing.length > maximumDepth) throw new RangeError("CBOR is nested too deep");
    return token;
  }

  /** One item has come; every container that it completes is closed. */
  #close(): void {
    for (let top = this.#missing.length - 1; top >= 0; top--) {
      const missing = (this.#missing[top] ?? 0) - 1;
      this.#missing[top] = missing;
      if (missing > 0) return;
      this.#missing.pop();
    }
  }
}

function itemsOf(token: Token): number {
  if (Type.equals(token.type, Type.array)) return token.value as number;
  if (Type.equals(token.type, Type.map)) return 2 * (token.value as number);
  return 0;
}

/** The core deterministic encoding. The bytes are the caller's, in an ArrayBuffer of their own. */
export function encodeCbor(value: CborValue): Uint8Array {
  return new Uint8Array(encode(value, rfc8949EncodeOptions));
}

/**
 * Decodes one item that takes up all of `bytes`, or undefined: too large, nested too deep, truncated, followed by more, or in any
 * other form than the one that `encodeCbor` gives. The value shares no memory with `bytes`. Its types are not yet checked.
 */
export function decodeCbor(bytes: Uint8Array, maximumBytes: number): unknown {
  if (bytes.length === 0 || bytes.length > maximumBytes) return undefined;
  try {
    const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    const tokenizer = new DepthLimitedTokenizer(plain, decodeOptions);
    const value = decode(plain, { ...decodeOptions, tokenizer }) as CborValue;
    return Buffer.compare(encodeCbor(value), bytes) === 0 ? value : undefined;
  } catch {
    return undefined;
  }
}

/** A map whose keys are all integers or text; else undefined. */
export function asMap(value: unknown): CborMap | undefined {
  if (!(value instanceof Map)) return undefined;
  for (const key of value.keys()) if (typeof key !== "number" && typeof key !== "string") return undefined;
  return value as CborMap;
}

/** A map with exactly these keys; else undefined. */
export function asMapOf(value: unknown, keys: readonly (number | string)[]): CborMap | undefined {
  const map = asMap(value);
  return map?.size === keys.length && keys.every((key) => map.has(key)) ? map : undefined;
}

/** A byte string, of exactly `length` bytes if that is given; else undefined. */
export function asBytes(value: unknown, length?: number): Uint8Array | undefined {
  if (!(value instanceof Uint8Array)) return undefined;
  return length === undefined || value.length === length ? value : undefined;
}
