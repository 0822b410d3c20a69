/** Owns compact certificates: a CA's signed statement which node has which key, how long, and what its tokens may assert. Source: design, "Keys and tags"; README.md of this folder. */
import type { KeyObject } from "node:crypto";
import { OperationError } from "../operation-error.ts";
import type { Attributes } from "../policy/attributes.ts";
import {
  type CertificateClaims,
  decodeCertificateClaims,
  encodeCertificateClaims,
  isName,
  maximumCertificateBytes,
} from "./claims.ts";
import { type CoseObject, coseAlgorithms, decodeCose, isSigned, signCose } from "./cose.ts";
import type { Refusal, TrustSnapshot } from "./identity.ts";
import { compressP256, importP256, keyId } from "./keys.ts";
import { refuse, timesRefusal } from "./refusal.ts";

const context = "trireme-cni certificate v1";

/** What a CA is asked to vouch for. */
interface CertificateRequest {
  readonly trustDomain: string;
  readonly node: string;
  /** The node's P-256 public key. */
  readonly publicKey: KeyObject;
  readonly notBeforeSeconds: number;
  readonly expiresSeconds: number;
  /** `*` (every attribute), `@node=<node>`. */
  readonly assert: readonly string[];
}

/** A certificate taken apart. Nothing of it is verified. */
export interface DecodedCertificate {
  readonly claims: CertificateClaims;
  /** Id of the CA key that it names: 16 hex digits. */
  readonly authorityId: string;
  readonly object: CoseObject;
}

/** A certificate whose signature, trust domain and limits have been verified; its times are checked again at each use. */
export interface TrustedCertificate {
  readonly claims: CertificateClaims;
  readonly publicKey: KeyObject;
  /** The CA key that signed it. */
  readonly authorityId: string;
}

/** Makes a certificate, as it travels. Throws `OperationError` where a verifier would refuse it. */
export function issueCertificate(request: CertificateRequest, authorityKey: KeyObject): Uint8Array {
  const { trustDomain, node, notBeforeSeconds, expiresSeconds, assert } = request;
  for (const [what, name] of Object.entries({ "trust domain": trustDomain, node })) {
    if (!isName(name))
      throw invalid(`the ${what} ${JSON.stringify(name)} is not 1 to 253 bytes of plain text`);
  }
  const problem = patternsProblem(assert, node);
  if (problem !== undefined) throw invalid(problem);
  if (expiresSeconds <= notBeforeSeconds) throw invalid("it would end before it begins");
  const publicKey = compressP256(request.publicKey);
  const claims = { trustDomain, node, notBeforeSeconds, expiresSeconds, publicKey, assert };
  return signCose(authorityKey, keyId(authorityKey), context, encodeCertificateClaims(claims));
}

const invalid = (message: string): OperationError =>
  new OperationError("usage", "make certificate", `cannot make the certificate: ${message}`);

export function decodeCertificate(bytes: Uint8Array): DecodedCertificate | undefined {
  const object = decodeCose(bytes, maximumCertificateBytes);
  const claims = object && decodeCertificateClaims(object.payload);
  if (!claims || object.keyId === undefined) return undefined;
  return { claims, authorityId: object.keyId, object };
}

/** Checks everything but the times. */
export function trustCertificate(bytes: Uint8Array, trust: TrustSnapshot): TrustedCertificate | Refusal {
  const decoded = decodeCertificate(bytes);
  if (!decoded) return refuse("certificate-malformed", `${bytes.length} bytes that are no certificate`);
  const { claims, authorityId, object } = decoded;
  if (object.algorithm !== coseAlgorithms.es256) {
    return refuse("certificate-algorithm", "the certificate is not signed with ES256");
  }
  const authority = trust.authorities.get(authorityId);
  if (!authority) return refuse("ca-unknown", `no trusted CA key has the id ${authorityId}`);
  if (claims.trustDomain !== trust.trustDomain) {
    const domains = `${JSON.stringify(claims.trustDomain)}, ours is ${JSON.stringify(trust.trustDomain)}`;
    return refuse("certificate-trust-domain", `the certificate's trust domain is ${domains}`);
  }
  const problem = patternsProblem(claims.assert, claims.node);
  if (problem !== undefined) return refuse("certificate-limits", problem);
  if (!isSigned(object, context, authority)) {
    return refuse("certificate-signature", `CA ${authorityId} did not sign this certificate`);
  }
  const publicKey = importP256(claims.publicKey);
  return publicKey
    ? { claims, publicKey, authorityId }
    : refuse("certificate-malformed", "its key is not on the curve P-256");
}

/** Why a trusted certificate is not valid now, or undefined. */
export function certificateTimes(
  claims: CertificateClaims,
  trust: TrustSnapshot,
  nowWallMs: number,
): Refusal | undefined {
  return timesRefusal({
    what: "certificate",
    notBeforeMs: claims.notBeforeSeconds * 1000,
    expiresAtMs: claims.expiresSeconds * 1000,
    clockSkewMs: trust.clockSkewMs,
    nowWallMs,
  });
}

/** Which attribute this certificate does not cover, as `key=value`, or undefined. `@node` has to be the certificate's, whatever the patterns. */
export function unassertable(attributes: Attributes, claims: CertificateClaims): string | undefined {
  for (const [key, values] of attributes) {
    for (const value of values) {
      const attribute = `${key}=${value}`;
      if (key === "@node" && value !== claims.node) return attribute;
      if (!claims.assert.some((pattern) => pattern === "*" || pattern === attribute)) return attribute;
    }
  }
  return undefined;
}

/** Only `*` and the node's own `@node=<node>` for now; a pattern that nobody can check must not pass for one that holds. */
function patternsProblem(patterns: readonly string[], node: string): string | undefined {
  if (patterns.length === 0) return "it asserts nothing";
  const unknown = patterns.find((pattern) => pattern !== "*" && pattern !== `@node=${node}`);
  if (unknown === undefined) return undefined;
  return `the pattern ${JSON.stringify(unknown)} is not supported; write "*" or "@node=${node}"`;
}
