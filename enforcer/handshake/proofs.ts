/** Owns the proofs: tag S of the SYN-ACK and tag C of the ACK, and their constant-time comparison. Source: PROTOCOL.md. */
import type { KeyObject } from "node:crypto";

/** tag S = HMAC-SHA-256(kS, "S" ‖ TH2)[0..16]: who answers holds the server's key, now. 16 bytes that the caller owns. */
export function serverTag(kS: KeyObject | Uint8Array, th2: Uint8Array): Buffer {
  throw new Error("not yet");
}

/** tag C = HMAC-SHA-256(kC, "C" ‖ TH2 ‖ tag S)[0..16]: who asked holds the client's key, now, and agrees. 16 bytes that the caller owns. */
export function clientTag(kC: KeyObject | Uint8Array, th2: Uint8Array, tagS: Uint8Array): Buffer {
  throw new Error("not yet");
}

/** Compares two tags in constant time; false if a length differs from 16. */
export function tagsEqual(expected: Uint8Array, received: Uint8Array): boolean {
  throw new Error("not yet");
}
