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

/** Knows which containers are open, so that nesting ends at `maximumDepth` and not at the end of the stack. */
class DepthLimitedTokenizer extends Tokenizer {
  /** For each open container, the outermost first: how many of its items have not been completed. */
  readonly #missing: number[] = [];

  override next(): Token {
    const token = super.next();
    const items = itemsOf(token);
    if (items > 0) this.#missing.push(items);
    else this.#complete();
    if (this.#missing.length > maximumDepth) throw new RangeError("CBOR is nested too deep");
    return token;
  }

  /** An item is complete, and so is every container whose last one it is. */
  #complete(): void {
    for (;;) {
      const missing = this.#missing.pop();
      if (missing === undefined) return;
      if (missing > 1) {
        this.#missing.push(missing - 1);
        return;
      }
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
 * other form than the one that `encodeCbor` gives, or not made of `CborValue`s. The value shares no memory with `bytes`.
 */
export function decodeCbor(bytes: Uint8Array, maximumBytes: number): CborValue | undefined {
  if (bytes.length === 0 || bytes.length > maximumBytes) return undefined;
  try {
    const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    const tokenizer = new DepthLimitedTokenizer(plain, decodeOptions);
    const value: unknown = decode(plain, { ...decodeOptions, tokenizer });
    return isCborValue(value) && Buffer.compare(encodeCbor(value), bytes) === 0 ? value : undefined;
  } catch {
    return undefined;
  }
}

function isCborValue(value: unknown): value is CborValue {
  if (typeof value === "string" || typeof value === "boolean") return true;
  if (value instanceof Uint8Array || Number.isSafeInteger(value)) return true;
  if (Array.isArray(value)) return value.every(isCborValue);
  return value instanceof Map && [...value].every(([key, one]) => isKey(key) && isCborValue(one));
}

const isKey = (key: unknown): key is number | string => typeof key === "string" || Number.isSafeInteger(key);

/** A map; else undefined. */
export const asMap = (value: CborValue | undefined): CborMap | undefined =>
  value instanceof Map ? (value as CborMap) : undefined;

/** An array; else undefined. */
export const asArray = (value: CborValue | undefined): readonly CborValue[] | undefined =>
  Array.isArray(value) ? (value as readonly CborValue[]) : undefined;

/** A map with exactly these keys; else undefined. */
export function asMapOf(
  value: CborValue | undefined,
  keys: readonly (number | string)[],
): CborMap | undefined {
  const map = asMap(value);
  return map?.size === keys.length && keys.every((key) => map.has(key)) ? map : undefined;
}

/** A byte string, of exactly `length` bytes if that is given; else undefined. */
export function asBytes(value: CborValue | undefined, length?: number): Uint8Array | undefined {
  if (!(value instanceof Uint8Array)) return undefined;
  return length === undefined || value.length === length ? value : undefined;
}
