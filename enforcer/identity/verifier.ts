/** Owns what the worker remembers of peers: verified and refused tokens, and pair keys, all bounded. Source: design, "Keys and tags". */
import type {
  DeriveKeys,
  OwnToken,
  PairKeys,
  Role,
  Suite,
  TokenCodec,
  TrustSnapshot,
  VerifiedIdentity,
  VerifyResult,
} from "./identity.ts";
import type { Reason } from "../reason.ts";

/** Bounds of the cache, in entries. The oldest entry leaves first. */
export interface IdentityCacheLimits {
  readonly verified: number;
  readonly refused: number;
  readonly pairs: number;
}

export interface IdentityCacheOptions {
  readonly codec: TokenCodec;
  readonly trust: TrustSnapshot;
  readonly derive: DeriveKeys;
  readonly limits?: Partial<IdentityCacheLimits>;
}

/** One per worker. No clock of its own; times are wall clock, since tokens are. */
export class IdentityCache {
  constructor(options: IdentityCacheOptions) {
    void options;
  }

  /** The answer that is cached, or undefined: then hold the packet, and call `verify` under the budget. Two hashes, no asymmetric work. */
  lookup(
    suite: Suite,
    token: Uint8Array,
    certificates: readonly Uint8Array[],
    nowWallMs: number,
  ): VerifyResult | undefined {
    void [suite, token, certificates, nowWallMs];
    throw new Error("to come");
  }

  /** Verifies and caches the answer, refusals too. */
  verify(
    suite: Suite,
    token: Uint8Array,
    certificates: readonly Uint8Array[],
    nowWallMs: number,
  ): VerifyResult {
    void [suite, token, certificates, nowWallMs];
    throw new Error("to come");
  }

  /** The pair's keys, or undefined: then hold the packet, and call `agree`. `role` is our own. */
  pairKeys(own: OwnToken, peer: VerifiedIdentity, role: Role): PairKeys | undefined {
    void [own, peer, role];
    throw new Error("to come");
  }

  /** Agrees (X25519 or PSK) and caches; one agreement serves both roles. A reason where the peer's key is not acceptable. */
  agree(own: OwnToken, peer: VerifiedIdentity, role: Role): PairKeys | Reason {
    void [own, peer, role];
    throw new Error("to come");
  }

  /** Drops what has expired. Call about once a second. */
  expire(nowWallMs: number): void {
    void nowWallMs;
    throw new Error("to come");
  }

  /** Forgets own token `hash` and its pairs at once (after renewal, when no pending handshake refers to it). */
  forgetOwn(token: OwnToken): void {
    void token;
    throw new Error("to come");
  }

  /** After a reload: everything is verified anew under the new trust. */
  replaceTrust(trust: TrustSnapshot): void {
    void trust;
    throw new Error("to come");
  }
}
