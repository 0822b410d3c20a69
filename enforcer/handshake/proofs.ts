/** Owns the proofs: tag S of the SYN-ACK and tag C of the ACK, and their constant-time comparison. Source: PROTOCOL.md. */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { HmacKey } from "../identity/identity.ts";
import { tagLength } from "./messages.ts";

const hashLength = 32;
const labelS = 0x53;
const labelC = 0x43;
/** Label, TH2 and tag S in one piece: each `update` of an HMAC costs about 1 µs. */
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

/** By way of a string, which is made faster than a buffer (see `transcript.ts`). */
function tagOf(key: HmacKey, input: Buffer): Buffer {
  const digest = createHmac("sha256", key).update(input).digest("binary");
  return Buffer.from(digest.slice(0, tagLength), "binary");
}

/** Compares two tags in constant time; false if a length differs from 16. */
export function tagsEqual(expected: Uint8Array, received: Uint8Array): boolean {
  if (expected.length !== tagLength || received.length !== tagLength) return false;
  return timingSafeEqual(expected, received);
}
