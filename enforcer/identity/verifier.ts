/** Owns what the worker remembers of peers: verified and refused tokens, and pair keys, all bounded. Source: design, "Keys and tags". */
import { createSecretKey, diffieHellman, hash, type KeyObject } from "node:crypto";
import type { Reason } from "../reason.ts";
import { LruMap } from "./lru-map.ts";
import { RecentNames } from "./recent-names.ts";
import { maximumCertificateBytes, maximumTokenBytes } from "./claims.ts";
import type {
  DeriveKeys,
  OwnToken,
  PairKeys,
  Role,
  Suite,
  TokenCodec,
  TokenVerifier,
  TrustSnapshot,
  VerifiedIdentity,
  VerifyResult,
} from "./identity.ts";
import { refuse } from "./refusal.ts";

/** Bounds of the cache, in entries. What was used longest ago leaves first. */
export interface IdentityCacheLimits {
  readonly verified: number;
  readonly refused: number;
  readonly pairs: number;
}

/** 250 processing units with 50 peers each, twice while tokens are renewed, and room. */
const defaultCacheLimits: IdentityCacheLimits = { verified: 16_384, refused: 4_096, pairs: 32_768 };

/** A refusal is believed this long: it ends with clocks that were wrong and keys that came late. */
const refusalMs = 60_000;

interface IdentityCacheOptions {
  readonly codec: TokenCodec;
  readonly trust: TrustSnapshot;
  readonly derive: DeriveKeys;
  readonly limits?: Partial<IdentityCacheLimits>;
}

interface CachedRefusal {
  readonly result: VerifyResult;
  /** Wall clock from and until which it is believed. */
  readonly sinceMs: number;
  readonly untilMs: number;
}

/** One agreement and the keys that were derived from it, for either role of ours. */
interface Pair {
  readonly secrets: Readonly<Record<Role, KeyObject>>;
  readonly keys: Partial<Record<Role, PairKeys>>;
  readonly ownName: string;
  readonly expiresAtMs: number;
}

/** One per worker. No clock of its own; times are wall clock, since tokens are. */
export class IdentityCache {
  readonly #codec: TokenCodec;
  readonly #derive: DeriveKeys;
  readonly #verified: LruMap<string, VerifyResult & { ok: true }>;
  readonly #refused: LruMap<string, CachedRefusal>;
  readonly #pairs: LruMap<string, Pair>;
  /** Of verified tokens. */
  readonly #names = new RecentNames();
  #trust: TrustSnapshot;
  #verifier: TokenVerifier;

  constructor(options: IdentityCacheOptions) {
    const limits = { ...defaultCacheLimits, ...options.limits };
    this.#codec = options.codec;
    this.#derive = options.derive;
    this.#trust = options.trust;
    this.#verifier = options.codec.verifier(options.trust);
    this.#verified = new LruMap(limits.verified);
    this.#refused = new LruMap(limits.refused);
    this.#pairs = new LruMap(limits.pairs);
  }

  /** The answer that is cached, or undefined: then hold the packet, and call `verify` under the budget. One hash at most, no asymmetric work. */
  lookup(
    suite: Suite,
    token: Uint8Array,
    certificates: readonly Uint8Array[],
    nowWallMs: number,
  ): VerifyResult | undefined {
    const known = this.#names.find(suite, token, certificates);
    const name = known ?? nameOf(suite, token, certificates);
    if (name === undefined) return tooLarge;
    const cached = this.#cached(name, nowWallMs);
    if (known === undefined && cached?.ok === true) this.#names.remember(suite, token, certificates, name);
    return cached;
  }

  /** Verifies and caches the answer, refusals too. Asymmetric work only where `lookup` gives undefined. */
  verify(
    suite: Suite,
    token: Uint8Array,
    certificates: readonly Uint8Array[],
    nowWallMs: number,
  ): VerifyResult {
    const name = nameOf(suite, token, certificates);
    if (name === undefined) return tooLarge;
    const cached = this.#cached(name, nowWallMs);
    if (cached) return cached;
    const result = this.#verifier.verify(suite, token, certificates, nowWallMs);
    if (result.ok) this.#verified.set(name, result);
    else {
      const untilMs = Math.min(nowWallMs + refusalMs, result.retryAtMs ?? Infinity);
      this.#refused.set(name, { result, sinceMs: nowWallMs, untilMs });
    }
    return result;
  }

  /** Why an identity that was verified before would be refused now: its time is over, or who vouched for it is trusted no more. */
  doubt(identity: VerifiedIdentity, nowWallMs: number): Reason | undefined {
    const { authorities, psks, trustDomain } = this.#trust;
    if (nowWallMs < identity.notBeforeMs) return "token-not-yet-valid";
    if (nowWallMs >= identity.expiresAtMs) return "token-expired";
    if (identity.trustDomain !== trustDomain) return "token-trust-domain";
    if (identity.suite === 1) return authorities.has(identity.authorityId ?? "") ? undefined : "ca-unknown";
    return psks.has(identity.pskId ?? "") ? undefined : "psk-unknown";
  }

  /** The pair's keys, or undefined: then hold the packet, and call `agree`. `role` is our own. No asymmetric work. */
  pairKeys(own: OwnToken, peer: VerifiedIdentity, role: Role): PairKeys | undefined {
    const pair = this.#pairs.get(pairName(own, peer));
    return pair && this.#keysOf(pair, own, peer, role);
  }

  /** Agrees (X25519, or the pre-shared key) and caches; one agreement serves both roles. A reason where the two cannot agree. */
  agree(own: OwnToken, peer: VerifiedIdentity, role: Role): PairKeys | Reason {
    const known = this.pairKeys(own, peer, role);
    if (known) return known;
    if (own.suite !== peer.suite) return "suite-unsupported";
    const secrets = own.suite === 1 ? agreeX25519(own, peer) : this.#sharedSecrets(own, peer);
    if (typeof secrets === "string") return secrets;
    const expiresAtMs = Math.min(own.expiresAtMs + this.#trust.clockSkewMs, peer.expiresAtMs);
    const pair: Pair = { secrets, keys: {}, ownName: binary(own.hash), expiresAtMs };
    this.#pairs.set(pairName(own, peer), pair);
    return this.#keysOf(pair, own, peer, role);
  }

  /** Drops what has expired. Call about once a second. */
  expire(nowWallMs: number): void {
    this.#verified.deleteIf(({ identity }) => nowWallMs >= identity.expiresAtMs);
    this.#refused.deleteIf(({ untilMs }) => nowWallMs >= untilMs);
    this.#pairs.deleteIf(({ expiresAtMs }) => nowWallMs >= expiresAtMs);
  }

  /** Drops the pairs of an own token at once, instead of when it expires: its unit is gone. */
  forgetOwn(own: OwnToken): void {
    const ownName = binary(own.hash);
    this.#pairs.deleteIf((pair) => pair.ownName === ownName);
  }

  /** After a reload: everything is verified anew, and agreed anew, under the new trust. */
  replaceTrust(trust: TrustSnapshot): void {
    this.#trust = trust;
    this.#verifier = this.#codec.verifier(trust);
    for (const map of [this.#verified, this.#refused, this.#pairs]) map.clear();
  }

  /** Entries now, for metrics and tests. */
  sizes(): IdentityCacheLimits {
    return { verified: this.#verified.size, refused: this.#refused.size, pairs: this.#pairs.size };
  }

  /** A verified token counts within its own times only, also when the clock was set back. */
  #cached(name: string, nowWallMs: number): VerifyResult | undefined {
    const verified = this.#verified.get(name);
    if (verified) {
      const { notBeforeMs, expiresAtMs } = verified.identity;
      if (nowWallMs >= notBeforeMs && nowWallMs < expiresAtMs) return verified;
      this.#verified.delete(name);
    }
    const refused = this.#refused.get(name);
    if (!refused) return undefined;
    if (nowWallMs >= refused.sinceMs && nowWallMs < refused.untilMs) return refused.result;
    this.#refused.delete(name);
    return undefined;
  }

  #keysOf(pair: Pair, own: OwnToken, peer: VerifiedIdentity, role: Role): PairKeys {
    const known = pair.keys[role];
    if (known) return known;
    const isClient = role === "client";
    const keys = this.#derive({
      suite: own.suite,
      secret: pair.secrets[role],
      clientTrustDomain: isClient ? own.trustDomain : peer.trustDomain,
      serverTrustDomain: isClient ? peer.trustDomain : own.trustDomain,
      clientTokenHash: isClient ? own.hash : peer.tokenHash,
      serverTokenHash: isClient ? peer.tokenHash : own.hash,
    });
    pair.keys[role] = keys;
    return keys;
  }

  /** The client's token names the key, so that both ends take the same one while it is being replaced. */
  #sharedSecrets(own: OwnToken, peer: VerifiedIdentity): Pair["secrets"] | Reason {
    const ours = this.#trust.psks.get(own.pskId ?? "")?.secret;
    const theirs = this.#trust.psks.get(peer.pskId ?? "")?.secret;
    return ours && theirs ? { client: ours, server: theirs } : "psk-unknown";
  }
}

const tooLarge = refuse(
  "token-malformed",
  `the limits are ${maximumTokenBytes} bytes for a token and ${maximumCertificateBytes} for its certificate`,
);

/** X25519 (RFC 7748 section 6.1). OpenSSL refuses the all-zero agreement; that it does is checked again. */
function agreeX25519(own: OwnToken, peer: VerifiedIdentity): Pair["secrets"] | Reason {
  const { privateKey } = own;
  const { publicKey } = peer;
  if (!privateKey || !publicKey) return "key-agreement";
  try {
    const agreed = diffieHellman({ privateKey, publicKey });
    if (agreed.every((byte) => byte === 0)) return "key-agreement";
    const secret = createSecretKey(agreed);
    agreed.fill(0);
    return { client: secret, server: secret };
  } catch {
    return "key-agreement";
  }
}

/** What `nameOf` hashes, kept between calls: a worker has one thread. */
const scratch = Buffer.allocUnsafe(maximumTokenBytes + maximumCertificateBytes + 8);

/** Names (suite, token, certificates) in full: SHA-256 over all of it, each length included. Undefined where it is too large to be anything. */
function nameOf(suite: Suite, token: Uint8Array, certificates: readonly Uint8Array[]): string | undefined {
  let total = token.length;
  for (const certificate of certificates) total += certificate.length + 2;
  if (total > scratch.length - 4 || token.length > maximumTokenBytes) return undefined;
  let end = scratch.writeUInt8(suite, 0);
  end = append(token, end);
  for (const certificate of certificates) end = append(certificate, end);
  return hash("sha256", scratch.subarray(0, end), "base64url");
}

function append(part: Uint8Array, at: number): number {
  const start = scratch.writeUInt16BE(part.length, at);
  scratch.set(part, start);
  return start + part.length;
}

/** Bytes as a string of the same length, for maps' keys. */
const binary = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");

const pairName = (own: OwnToken, peer: VerifiedIdentity): string => binary(own.hash) + binary(peer.tokenHash);
