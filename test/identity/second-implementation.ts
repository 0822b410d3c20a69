/**
 * A second implementation of tokens and certificates, written from RFC 8949, 9052 and 8392 alone: no `cborg`, no OpenSSL, and none of
 * the enforcer's code. It reads only what is well-formed and is no model of strictness.
 */
import { p256 } from "@noble/curves/nist.js";
import { x25519 } from "@noble/curves/ed25519.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";

type Item = number | string | boolean | Uint8Array | Item[] | Map<Item, Item>;

/** Reads the one item at the start of `bytes`. */
export function read(bytes: Uint8Array): Item {
  return new Reader(bytes).item();
}

class Reader {
  #at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  item(): Item {
    const first = this.#take(1)[0] ?? 0;
    const [major, info] = [first >> 5, first & 31];
    if (major === 7) return info === 21;
    const n = info < 24 ? info : this.#number(2 ** (info - 24));
    if (major === 0) return n;
    if (major === 1) return -1 - n;
    if (major === 2) return this.#take(n);
    if (major === 3) return new TextDecoder().decode(this.#take(n));
    if (major === 4) return Array.from({ length: n }, () => this.item());
    return new Map(Array.from({ length: n }, () => [this.item(), this.item()]));
  }

  #number(length: number): number {
    return this.#take(length).reduce((sum, byte) => sum * 256 + byte, 0);
  }

  #take(length: number): Uint8Array {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new RangeError("truncated");
    const taken = this.#bytes.slice(this.#at, end);
    this.#at = end;
    return taken;
  }
}

const head = (major: number, n: number): number[] => {
  if (n < 24) return [(major << 5) | n];
  if (n < 256) return [(major << 5) | 24, n];
  return [(major << 5) | 25, n >> 8, n & 255];
};

const bytesItem = (bytes: Uint8Array): number[] => [...head(2, bytes.length), ...bytes];

const textItem = (text: string): number[] => {
  const bytes = new TextEncoder().encode(text);
  return [...head(3, bytes.length), ...bytes];
};

interface Parts {
  readonly protectedHeader: Uint8Array;
  readonly payload: Uint8Array;
  readonly proof: Uint8Array;
}

export function partsOf(object: Uint8Array): Parts {
  const [protectedHeader, , payload, proof] = read(object) as Uint8Array[];
  if (!protectedHeader || !payload || !proof) throw new TypeError("not four parts");
  return { protectedHeader, payload, proof };
}

/** Sig_structure or MAC_structure. */
function covered(structure: string, { protectedHeader, payload }: Parts, context: string): Uint8Array {
  const aad = new TextEncoder().encode(context);
  const items = [
    ...textItem(structure),
    ...bytesItem(protectedHeader),
    ...bytesItem(aad),
    ...bytesItem(payload),
  ];
  return new Uint8Array([0x84, ...items]);
}

/** `publicKey`: a SEC 1 point. */
export function signatureHolds(object: Uint8Array, context: string, publicKey: Uint8Array): boolean {
  const parts = partsOf(object);
  const message = covered("Signature1", parts, context);
  return p256.verify(parts.proof, sha256(message), publicKey, { prehash: false, lowS: false });
}

/** The same object, signed anew: with `s` in the upper half if `highS`. */
export function signAgain(
  object: Uint8Array,
  context: string,
  secret: Uint8Array,
  highS: boolean,
): Uint8Array {
  const parts = partsOf(object);
  const digest = sha256(covered("Signature1", parts, context));
  const signature = p256.Signature.fromBytes(p256.sign(digest, secret, { prehash: false, lowS: true }));
  const s = highS ? p256.Point.Fn.neg(signature.s) : signature.s;
  const proof = new p256.Signature(signature.r, s).toBytes("compact");
  const items = [...bytesItem(parts.protectedHeader), 0xa0, ...bytesItem(parts.payload), ...bytesItem(proof)];
  return new Uint8Array([0x84, ...items]);
}

/** `secret`: the pre-shared key itself. */
export function macHolds(object: Uint8Array, context: string, secret: Uint8Array): boolean {
  const text = new TextEncoder();
  const key = hkdf(
    sha256,
    secret,
    text.encode("trireme-cni token"),
    text.encode("COSE_Mac0 HMAC 256/256 v1"),
    32,
  );
  const parts = partsOf(object);
  const expected = hmac(sha256, key, covered("MAC0", parts, context));
  return Buffer.compare(expected, parts.proof) === 0;
}

export const agree = (secret: Uint8Array, publicKey: Uint8Array): Uint8Array =>
  x25519.getSharedSecret(secret, publicKey);
