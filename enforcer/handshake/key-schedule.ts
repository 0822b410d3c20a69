/**
 * Owns the key schedule: from a shared secret and both tokens' hashes to kS, kC and kExport. Source: PROTOCOL.md.
 *
 * Knows no identity code: whoever keeps pairs (`identity`) is given this function or the same construction.
 */
import type { KeyObject } from "node:crypto";

/** What the keys are bound to; client first, whichever end computes. */
export interface KeyContext {
  readonly version: number;
  readonly suite: number;
  readonly clientTrustDomain: string;
  readonly serverTrustDomain: string;
  /** SHA-256 of the whole token, 32 bytes. */
  readonly clientTokenHash: Uint8Array;
  readonly serverTokenHash: Uint8Array;
}

/** Keys of one pair of tokens, for one assignment of roles. */
export interface ProofKeys {
  readonly kS: KeyObject;
  readonly kC: KeyObject;
  /** For later uses (encryption, session ids); no proof uses it. */
  readonly kExport: KeyObject;
}

/** Derives the three keys from the secret: the X25519 agreement (suite 1, not all-zero: the caller checks) or the pre-shared key (suite 2). */
export function deriveProofKeys(secret: Uint8Array | KeyObject, context: KeyContext): ProofKeys {
  throw new Error("not yet");
}
