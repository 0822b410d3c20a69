/** Owns the proofs: tag S of the SYN-ACK and tag C of the ACK, and their constant-time comparison. Source: PROTOCOL.md. */
import { hash, timingSafeEqual } from "node:crypto";
import type { HmacKey } from "../identity/identity.ts";
import { tagLength } from "./messages.ts";

const hashLength = 32;
const labelS = 0x53;
const labelC = 0x43;
const blockLength = 64;
/** Label, TH2 and tag S in one piece. */
const scratch = Buffer.alloc(1 + hashLength + tagLength);
const inputS = scratch.subarray(0, 1 + hashLength);

/** tag S = HMAC-SHA-256(kS, "S" ‖ TH2)[0..16]: who answers holds the server's key, now. 16 bytes that the caller owns. */
export function serverTag(kS: HmacKey, th2: Uint8Array): Buffer {
  scratch[0] = labelS;
  scratch.set(th2, 1);
  return tagOf(kS, inputS);
}

/** tag C = HMAC-SHA-256(kC, "C" ‖ TH2 ‖ tag S)[0..16]: who asked holds the client's key, now, and agrees. 16 bytes that the caller owns. */
export function clientTag(kC: HmacKey, th2: Uint8Array, tagS: Uint8Array): Buffer {
  scratch[0] = labelC;
  scratch.set(th2, 1);
  scratch.set(tagS, 1 + hashLength);
  return tagOf(kC, scratch);
}

/** Tag C, made when it is first asked for: not while the SYN-ACK waits, for which it is not needed yet. */
export class ExpectedTag {
  readonly tagS: Uint8Array;
  readonly #kC: HmacKey;
  readonly #th2: Uint8Array;
  #tagC: Buffer | undefined;

  /** Keeps what it is given. */
  constructor(kC: HmacKey, th2: Uint8Array, tagS: Uint8Array) {
    this.tagS = tagS;
    this.#kC = kC;
    this.#th2 = th2;
  }

  /** 16 bytes. */
  get tagC(): Buffer {
    this.#tagC ??= clientTag(this.#kC, this.#th2, this.tagS);
    return this.#tagC;
  }
}

/**
 * HMAC (RFC 2104) of one-shot hashes: node's own makes and collects an object for each, and costs twice as much. Digests come as strings,
 * which are made faster than buffers (see `transcript.ts`).
 */
function tagOf(key: HmacKey, input: Buffer): Buffer {
  const { inner, outer } = blocksOf(key);
  innerInput.set(inner, 0);
  innerInput.set(input, blockLength);
  outerInput.set(outer, 0);
  const length = blockLength + input.length;
  outerInput.write(hash("sha256", innerInput.subarray(0, length), "binary"), blockLength, "binary");
  return Buffer.from(hash("sha256", outerInput, "binary").slice(0, tagLength), "binary");
}

const innerInput = Buffer.alloc(blockLength + scratch.length);
const outerInput = Buffer.alloc(blockLength + hashLength);

/** What both hashes of an HMAC begin with: the key under two masks. */
interface KeyBlocks {
  readonly inner: Uint8Array;
  readonly outer: Uint8Array;
}

const blocks = new WeakMap<HmacKey, KeyBlocks>();

/** A key's blocks are kept as long as the key is. */
function blocksOf(key: HmacKey): KeyBlocks {
  const known = blocks.get(key);
  if (known !== undefined) return known;
  const bytes = key instanceof Uint8Array ? key : key.export();
  if (bytes.length > blockLength) throw new RangeError("an HMAC key is longer than a block");
  const made = { inner: masked(bytes, 0x36), outer: masked(bytes, 0x5c) };
  blocks.set(key, made);
  return made;
}

function masked(key: Uint8Array, mask: number): Uint8Array {
  return Uint8Array.from({ length: blockLength }, (_, at) => (key[at] ?? 0) ^ mask);
}

/** Compares two tags in constant time; false if a length differs from 16. */
export function tagsEqual(expected: Uint8Array, received: Uint8Array): boolean {
  if (expected.length !== tagLength || received.length !== tagLength) return false;
  return timingSafeEqual(expected, received);
}
