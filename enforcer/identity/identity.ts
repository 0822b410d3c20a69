/** Owns the types of identity that the other parts build on: own tokens, verified peers, trust, and the one codec interface. Source: README.md of this folder. */
import type { KeyObject } from "node:crypto";
import type { Attributes } from "../policy/attributes.ts";
import type { Reason } from "../reason.ts";

/** 1 = X25519 + ES256 under a cluster CA; 2 = pre-shared key. Numbered as on the wire. */
export type Suite = 1 | 2;

/** Which end of a connection our own token is at. */
export type Role = "client" | "server";

/**
 * One minted token of one of our processing units; immutable. Plain data and `KeyObject`s, each in an ArrayBuffer of
 * its own, so `postMessage` carries it to the worker as it is (12 µs, cheaper than any import).
 */
export interface OwnToken {
  readonly suite: Suite;
  /** 16 hex digits. */
  readonly puId: string;
  readonly bytes: Uint8Array;
  /** SHA-256 of `bytes`. */
  readonly hash: Uint8Array;
  /** What travels beside the token: one compact certificate in suite 1, none in suite 2. */
  readonly certificates: readonly Uint8Array[];
  /** X25519, fresh with this token; suite 1 only. */
  readonly privateKey: KeyObject | undefined;
  /** Names the pre-shared key (see `PreSharedKey.id`); suite 2 only. */
  readonly pskId: string | undefined;
  readonly trustDomain: string;
  /** Wall clock; peers refuse the token from here on (beyond their clock skew). */
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  readonly attributes: Attributes;
}

/** A peer's identity. Exists only after signature, times, trust domain, certificate and limits have all been verified. */
export interface VerifiedIdentity {
  readonly suite: Suite;
  /** SHA-256 of the token alone, without its certificates. */
  readonly tokenHash: Uint8Array;
  readonly puId: string;
  readonly attributes: Attributes;
  readonly trustDomain: string;
  /** X25519; suite 1 only. */
  readonly publicKey: KeyObject | undefined;
  /** Names the pre-shared key; suite 2 only. */
  readonly pskId: string | undefined;
  /** Names the CA key that vouches for the node; suite 1 only. */
  readonly authorityId: string | undefined;
  /** Wall clock between which this enforcer accepts the token, its clock skew and the certificate's validity included. */
  readonly notBeforeMs: number;
  readonly expiresAtMs: number;
  readonly node: string;
}

/** A refusal. `detail` names what was found and what was expected, both clocks where times are the cause; never key or token bytes. */
export interface Refusal {
  readonly ok: false;
  readonly reason: Reason;
  readonly detail: string;
  /** Wall clock from which on the answer may be another: the token is not valid yet. */
  readonly retryAtMs?: number;
}

export type VerifyResult = { readonly ok: true; readonly identity: VerifiedIdentity } | Refusal;

/** A pre-shared key as it is kept after loading. Whoever holds it can pose as any processing unit. */
export interface PreSharedKey {
  /** 16 hex digits: the first 8 bytes of the RFC 7638 thumbprint, `kid` on the wire. */
  readonly id: string;
  /** At least 32 bytes; the input of the connection's key schedule. */
  readonly secret: KeyObject;
  /** HMAC key of tokens, derived from the same secret under an info string of its own. */
  readonly tokenKey: KeyObject;
}

/** What an enforcer believes peers by. An immutable snapshot; a reload makes a new one. Survives `postMessage`; has no private key but the PSKs. */
export interface TrustSnapshot {
  readonly trustDomain: string;
  readonly clockSkewMs: number;
  /** Tokens that live longer than this are refused. */
  readonly maximumTokenLifetimeMs: number;
  /** P-256 public keys of trusted CAs by id: 16 hex digits, the first 8 bytes of the RFC 7638 thumbprint. */
  readonly authorities: ReadonlyMap<string, KeyObject>;
  readonly psks: ReadonlyMap<string, PreSharedKey>;
}

/** What an enforcer mints with. Stays on the main thread. */
export type Signer = NodeSigner | PskSigner;

interface SignerBase {
  readonly trustDomain: string;
  readonly node: string;
  readonly tokenLifetimeMs: number;
}

export interface NodeSigner extends SignerBase {
  readonly suite: 1;
  /** P-256. */
  readonly privateKey: KeyObject;
  /** The compact certificate of that key, as it travels. */
  readonly certificate: Uint8Array;
  readonly certificateExpiresAtMs: number;
}

export interface PskSigner extends SignerBase {
  readonly suite: 2;
  readonly psk: PreSharedKey;
}

/** Whose token. `attributes` must have exactly one `@node`, the signer's. */
export interface TokenSubject {
  readonly puId: string;
  readonly attributes: Attributes;
}

export interface TokenMinter {
  /** Makes a token with a fresh key. Throws `OperationError` where the attributes exceed the limits or the certificate has ended. Off the hot path: ~100 µs. */
  mint(subject: TokenSubject, nowWallMs: number): OwnToken;
}

export interface TokenVerifier {
  /** Verifies everything that one message can show. Never throws for hostile input. Borrows its buffers. */
  verify(
    suite: Suite,
    token: Uint8Array,
    certificates: readonly Uint8Array[],
    nowWallMs: number,
  ): VerifyResult;
}

/** One form of tokens (`cwt` now, JWT later). What is outside it knows no encoding. */
export interface TokenCodec {
  readonly name: string;
  minter(signer: Signer): TokenMinter;
  verifier(trust: TrustSnapshot): TokenVerifier;
}

/** Key of an HMAC; `createHmac` takes it as it is. */
export type HmacKey = KeyObject | Uint8Array;

/** The keys of one (client token, server token) pair. */
export interface PairKeys {
  readonly kS: HmacKey;
  readonly kC: HmacKey;
  readonly kExport: HmacKey;
}

/** What the key schedule of the handshake takes: client first, whoever we are. */
export interface KeyMaterial {
  readonly suite: Suite;
  /**
   * X25519 agreement (32 bytes) in suite 1; in suite 2 the pre-shared key that the *client's* token names (both tokens
   * name the same one, except while a PSK is being replaced).
   */
  readonly secret: KeyObject;
  readonly clientTrustDomain: string;
  readonly serverTrustDomain: string;
  /** SHA-256 of each token. */
  readonly clientTokenHash: Uint8Array;
  readonly serverTokenHash: Uint8Array;
}

/** The key schedule; lives with the handshake's proofs and is injected into `IdentityCache`. */
export type DeriveKeys = (material: KeyMaterial) => PairKeys;
