/** Owns tokens in the form CWT in COSE: minting and verifying both suites. Source: RFC 8392, RFC 9052; design, "Keys and tags". */
import { hash } from "node:crypto";
import { OperationError } from "../operation-error.ts";
import type { Attributes } from "../policy/attributes.ts";
import { certificateTimes, type TrustedCertificate, trustCertificate, unassertable } from "./certificate.ts";
import {
  attributesProblem,
  decodeTokenClaims,
  encodeTokenClaims,
  maximumCertificateBytes,
  maximumTokenBytes,
  type TokenClaims,
} from "./claims.ts";
import {
  type CoseObject,
  coseAlgorithms,
  decodeCose,
  isAuthentic,
  isSigned,
  macCose,
  signCose,
} from "./cose.ts";
import type {
  OwnToken,
  Refusal,
  Signer,
  Suite,
  TokenCodec,
  TokenMinter,
  TokenSubject,
  TokenVerifier,
  TrustSnapshot,
  VerifiedIdentity,
  VerifyResult,
} from "./identity.ts";
import { generateX25519, importX25519, rawX25519 } from "./keys.ts";
import { LruMap } from "./lru-map.ts";
import { refuse, timesRefusal } from "./refusal.ts";

const context = "trireme-cni token v1";

/** Certificates whose signature has been checked; one per node of the cluster. */
const maximumCertificates = 4096;

/** The one form of tokens so far. */
export const cwtCodec: TokenCodec = {
  name: "cwt",
  minter: (signer) => new CwtMinter(signer),
  verifier: (trust) => new CwtVerifier(trust),
};

const proofs = {
  1: { algorithm: coseAlgorithms.es256, name: "ES256" },
  2: { algorithm: coseAlgorithms.hmac256, name: "HMAC 256/256" },
} as const;

class CwtMinter implements TokenMinter {
  readonly #signer: Signer;

  constructor(signer: Signer) {
    this.#signer = signer;
  }

  mint(subject: TokenSubject, nowWallMs: number): OwnToken {
    const signer = this.#signer;
    const problem = attributesProblem(subject.attributes) ?? nodeProblem(subject.attributes, signer.node);
    if (problem !== undefined) throw mintError("limit", subject, problem);
    const issuedSeconds = Math.floor(nowWallMs / 1000);
    const expiresSeconds = Math.floor(lastMs(signer, nowWallMs) / 1000);
    if (expiresSeconds <= issuedSeconds) {
      throw mintError("keys-invalid", subject, "the node's certificate has ended; make a new one and reload");
    }
    const key = signer.suite === 1 ? generateX25519() : undefined;
    const bytes = seal(signer, {
      puId: subject.puId,
      issuedSeconds,
      expiresSeconds,
      attributes: subject.attributes,
      publicKey: key && rawX25519(key.publicKey),
      trustDomain: signer.suite === 2 ? signer.trustDomain : undefined,
    });
    return {
      suite: signer.suite,
      puId: subject.puId,
      bytes,
      hash: sha256(bytes),
      certificates: signer.suite === 1 ? [signer.certificate] : [],
      privateKey: key?.privateKey,
      pskId: signer.suite === 2 ? signer.psk.id : undefined,
      trustDomain: signer.trustDomain,
      issuedAtMs: issuedSeconds * 1000,
      expiresAtMs: expiresSeconds * 1000,
      attributes: subject.attributes,
    };
  }
}

/** A token outlives neither its lifetime nor its certificate. */
function lastMs(signer: Signer, nowWallMs: number): number {
  const last = nowWallMs + signer.tokenLifetimeMs;
  return signer.suite === 1 ? Math.min(last, signer.certificateExpiresAtMs) : last;
}

function seal(signer: Signer, claims: TokenClaims): Uint8Array {
  const payload = encodeTokenClaims(claims);
  if (signer.suite === 1) return signCose(signer.privateKey, undefined, context, payload);
  return macCose(signer.psk.tokenKey, signer.psk.id, context, payload);
}

function nodeProblem(attributes: Attributes, node: string): string | undefined {
  const nodes = attributes.get("@node") ?? [];
  if (nodes.length === 1 && nodes[0] === node) return undefined;
  return `@node is ${JSON.stringify(nodes.join(","))}, the signer's node is ${JSON.stringify(node)}`;
}

const mintError = (code: "limit" | "keys-invalid", subject: TokenSubject, problem: string): OperationError =>
  new OperationError(code, "mint token", `cannot mint a token for ${subject.puId}: ${problem}`);

class CwtVerifier implements TokenVerifier {
  readonly #trust: TrustSnapshot;
  readonly #certificates = new LruMap<string, TrustedCertificate>(maximumCertificates);

  constructor(trust: TrustSnapshot) {
    this.#trust = trust;
  }

  verify(
    suite: Suite,
    token: Uint8Array,
    certificates: readonly Uint8Array[],
    nowWallMs: number,
  ): VerifyResult {
    const opened = openToken(suite, token);
    if ("ok" in opened) return opened;
    const refusal = this.#tokenTimes(opened.claims, nowWallMs);
    if (refusal) return refusal;
    const evidence = { ...opened, token, certificates, nowWallMs };
    return suite === 1 ? this.#verifySigned(evidence) : this.#verifyShared(evidence);
  }

  #verifySigned(evidence: Evidence): VerifyResult {
    const { claims, object, nowWallMs } = evidence;
    const certificate = this.#trusted(evidence.certificates);
    if ("ok" in certificate) return certificate;
    const refusal =
      certificateTimes(certificate.claims, this.#trust, nowWallMs) ??
      attributesRefusal(claims.attributes, certificate);
    if (refusal) return refusal;
    if (!isSigned(object, context, certificate.publicKey)) {
      return refuse(
        "token-signature",
        `the key of node ${JSON.stringify(certificate.claims.node)} did not sign it`,
      );
    }
    const publicKey = claims.publicKey && importX25519(claims.publicKey);
    if (!publicKey) return refuse("token-key", "the token has no X25519 key");
    const { node, trustDomain, notBeforeSeconds, expiresSeconds } = certificate.claims;
    const { authorityId } = certificate;
    const named = { suite: 1, publicKey, pskId: undefined, authorityId, node, trustDomain } as const;
    const identity = this.#identity(evidence, named);
    return { ok: true, identity: this.#within(identity, notBeforeSeconds, expiresSeconds) };
  }

  #verifyShared(evidence: Evidence): VerifyResult {
    const { claims, object } = evidence;
    if (evidence.certificates.length > 0) {
      return refuse("certificate-unexpected", "a token under a pre-shared key has no certificate");
    }
    const psk = this.#trust.psks.get(object.keyId ?? "");
    if (!psk) return refuse("psk-unknown", `no pre-shared key has the id ${object.keyId ?? "(none)"}`);
    const { trustDomain = "" } = claims;
    if (trustDomain !== this.#trust.trustDomain) {
      const domains = `${JSON.stringify(trustDomain)}, ours is ${JSON.stringify(this.#trust.trustDomain)}`;
      return refuse("token-trust-domain", `the token's trust domain is ${domains}`);
    }
    if (!isAuthentic(object, context, psk.tokenKey)) {
      return refuse("token-signature", `pre-shared key ${psk.id} did not make its MAC`);
    }
    const [node = ""] = claims.attributes.get("@node") ?? [];
    const shared = { publicKey: undefined, pskId: psk.id, authorityId: undefined } as const;
    const named = { suite: 2, ...shared, node, trustDomain } as const;
    return { ok: true, identity: this.#identity(evidence, named) };
  }

  #tokenTimes(claims: TokenClaims, nowWallMs: number): Refusal | undefined {
    const lifetimeSeconds = claims.expiresSeconds - claims.issuedSeconds;
    const maximumSeconds = this.#trust.maximumTokenLifetimeMs / 1000;
    if (lifetimeSeconds <= 0 || lifetimeSeconds > maximumSeconds) {
      return refuse(
        "token-lifetime",
        `the token lives ${lifetimeSeconds} s; up to ${maximumSeconds} s are allowed`,
      );
    }
    return timesRefusal({
      what: "token",
      notBeforeMs: claims.issuedSeconds * 1000,
      expiresAtMs: claims.expiresSeconds * 1000,
      clockSkewMs: this.#trust.clockSkewMs,
      nowWallMs,
    });
  }

  /** The one certificate, its signature checked once and remembered. */
  #trusted(certificates: readonly Uint8Array[]): TrustedCertificate | Refusal {
    const [bytes] = certificates;
    if (!bytes) return refuse("certificate-missing", "the token came without a certificate");
    if (certificates.length > 1) {
      return refuse("certificate-unexpected", `${certificates.length} certificates came; one is allowed`);
    }
    if (bytes.length > maximumCertificateBytes) {
      return refuse(
        "certificate-malformed",
        `${bytes.length} bytes; the limit is ${maximumCertificateBytes}`,
      );
    }
    const name = hash("sha256", bytes, "base64url");
    const known = this.#certificates.get(name);
    if (known) return known;
    const certificate = trustCertificate(bytes, this.#trust);
    if (!("ok" in certificate)) this.#certificates.set(name, certificate);
    return certificate;
  }

  #identity(evidence: Evidence, named: NamedBy): VerifiedIdentity {
    const { claims, token } = evidence;
    const { clockSkewMs } = this.#trust;
    return {
      ...named,
      tokenHash: sha256(token),
      puId: claims.puId,
      attributes: claims.attributes,
      notBeforeMs: claims.issuedSeconds * 1000 - clockSkewMs,
      expiresAtMs: claims.expiresSeconds * 1000 + clockSkewMs,
    };
  }

  /** An identity lasts no longer than the certificate it rests on. */
  #within(identity: VerifiedIdentity, notBeforeSeconds: number, expiresSeconds: number): VerifiedIdentity {
    const { clockSkewMs } = this.#trust;
    return {
      ...identity,
      notBeforeMs: Math.max(identity.notBeforeMs, notBeforeSeconds * 1000 - clockSkewMs),
      expiresAtMs: Math.min(identity.expiresAtMs, expiresSeconds * 1000 + clockSkewMs),
    };
  }
}

/** A token taken apart. Nothing of it is verified. */
export interface OpenedToken {
  readonly object: CoseObject;
  readonly claims: TokenClaims;
}

interface Evidence extends OpenedToken {
  readonly token: Uint8Array;
  readonly certificates: readonly Uint8Array[];
  readonly nowWallMs: number;
}

type NamedBy = Pick<
  VerifiedIdentity,
  "suite" | "publicKey" | "pskId" | "authorityId" | "node" | "trustDomain"
>;

/** Takes a token apart as its suite demands; the header's algorithm is only compared. */
export function openToken(suite: Suite, token: Uint8Array): OpenedToken | Refusal {
  const object = decodeCose(token, maximumTokenBytes);
  if (!object) return refuse("token-malformed", `${token.length} bytes that are no token`);
  const { algorithm, name } = proofs[suite];
  if (object.algorithm !== algorithm) {
    return refuse("token-algorithm", `suite ${suite} demands ${name} and the token's header names another`);
  }
  if ((suite === 2) !== (object.keyId !== undefined)) {
    return refuse("token-malformed", "the header's kid does not fit the suite");
  }
  const claims = decodeTokenClaims(object.payload, suite);
  if (!claims) return refuse("token-malformed", "the claims are not those of this suite, or out of bounds");
  if (claims.attributes.get("@node")?.length !== 1) {
    return refuse("token-attributes", "the token does not name exactly one @node");
  }
  return { object, claims };
}

function attributesRefusal(attributes: Attributes, certificate: TrustedCertificate): Refusal | undefined {
  const attribute = unassertable(attributes, certificate.claims);
  if (attribute === undefined) return undefined;
  const node = JSON.stringify(certificate.claims.node);
  return refuse(
    "token-attributes",
    `the certificate of node ${node} does not cover ${JSON.stringify(attribute)}`,
  );
}

const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(hash("sha256", bytes, "buffer"));
