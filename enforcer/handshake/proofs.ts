/** Owns the proofs: tag S of the SYN-ACK and tag C of the ACK, and their constant-time comparison. Source: PROTOCOL.md. */
import { timingSafeEqual } from "node:crypto";
import { digestInput, digestLength, HmacBlocks, hmacSha256 } from "../digest/digest.ts";
import type { HmacKey } from "../identity/identity.ts";
import { tagLength } from "./messages.ts";

const labelS = 0x53;
const labelC = 0x43;

/** tag S = HMAC-SHA-256(kS, "S" ‖ TH2)[0..16]: who answers holds the server's key, now. 16 bytes that the caller owns. */
export function serverTag(kS: HmacKey, th2: Uint8Array): Buffer {
  digestInput[0] = labelS;
  digestInput.set(th2, 1);
  return hmacSha256(blocksOf(kS), 1 + digestLength, tagLength);
}

/** tag C = HMAC-SHA-256(kC, "C" ‖ TH2 ‖ tag S)[0..16]: who asked holds the client's key, now, and agrees. 16 bytes that the caller owns. */
export function clientTag(kC: HmacKey, th2: Uint8Array, tagS: Uint8Array): Buffer {
  digestInput[0] = labelC;
  digestInput.set(th2, 1);
  digestInput.set(tagS, 1 + digestLength);
  return hmacSha256(blocksOf(kC), 1 + digestLength + tagLength, tagLength);
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

const blocks = new WeakMap<HmacKey, HmacBlocks>();

/** A key's blocks are kept as long as the key is. */
function blocksOf(key: HmacKey): HmacBlocks {
  const known = blocks.get(key);
  if (known !== undefined) return known;
  const made = new HmacBlocks(key instanceof Uint8Array ? key : key.export());
  blocks.set(key, made);
  return made;
}

/** Compares two tags in constant time; false if a length differs from 16. */
export function tagsEqual(expected: Uint8Array, received: Uint8Array): boolean {
  if (expected.length !== tagLength || received.length !== tagLength) return false;
  return timingSafeEqual(expected, received);
}
