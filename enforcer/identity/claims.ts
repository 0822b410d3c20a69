/** Owns the claims inside tokens and certificates: layout, limits, decode and encode. Source: RFC 8392 section 4 (CWT), RFC 8747 (cnf), RFC 9053 section 7 (COSE_Key); README.md of this folder. */
import type { Attributes } from "../policy/attributes.ts";
import { asBytes, asMap, asMapOf, type CborMap, type CborValue, decodeCbor, encodeCbor } from "./cbor.ts";

/** CWT claim numbers; those below -65536 are for private use. */
const claim = {
  issuer: 1,
  subject: 2,
  expires: 4,
  notBefore: 5,
  issued: 6,
  confirmation: 8,
  attributes: -65537,
  assert: -65538,
} as const;

/** COSE_Key labels and values. */
const coseKey = { kty: 1, crv: -1, x: -2, y: -3, okp: 1, ec2: 2, p256: 1, x25519: 4 } as const;

/** Bounds of what one token may say, in items and UTF-8 bytes. A key as Kubernetes has it is at most 317 bytes, a value 63. */
const attributeLimits = { attributes: 64, values: 16, keyBytes: 317, valueBytes: 255 } as const;

/** Bytes of a whole token and a whole certificate; what is longer is refused unread. */
export const maximumTokenBytes = 4096;
export const maximumCertificateBytes = 1024;

const maximumNameBytes = 253;
const maximumPatterns = 16;
/** 9999-12-31T23:59:59Z: every time that is accepted can be printed. */
const latestSeconds = 253_402_300_799;
const puIdForm = /^[0-9a-f]{16}$/;
const controlCharacter = /\p{Cc}/u;

/** What a token says. Times are seconds since 1970. */
export interface TokenClaims {
  readonly puId: string;
  readonly issuedSeconds: number;
  readonly expiresSeconds: number;
  readonly attributes: Attributes;
  /** Raw X25519 public key, 32 bytes; suite 1 only. */
  readonly publicKey: Uint8Array | undefined;
  /** Suite 2 only: in suite 1 the certificate says it. */
  readonly trustDomain: string | undefined;
}

/** What a certificate says. */
export interface CertificateClaims {
  readonly trustDomain: string;
  readonly node: string;
  readonly notBeforeSeconds: number;
  readonly expiresSeconds: number;
  /** P-256 point, compressed: 33 bytes. */
  readonly publicKey: Uint8Array;
  /** Patterns that the attributes of its tokens have to match. */
  readonly assert: readonly string[];
}

export function encodeTokenClaims(claims: TokenClaims): Uint8Array {
  const map = new Map<number, CborValue>([
    [claim.subject, claims.puId],
    [claim.expires, claims.expiresSeconds],
    [claim.issued, claims.issuedSeconds],
    [claim.attributes, new Map([...claims.attributes].map(([key, values]) => [key, encodeValues(values)]))],
  ]);
  if (claims.publicKey) map.set(claim.confirmation, confirmation(encodeX25519(claims.publicKey)));
  if (claims.trustDomain !== undefined) map.set(claim.issuer, claims.trustDomain);
  return encodeCbor(map);
}

export function encodeCertificateClaims(claims: CertificateClaims): Uint8Array {
  return encodeCbor(
    new Map<number, CborValue>([
      [claim.issuer, claims.trustDomain],
      [claim.subject, claims.node],
      [claim.expires, claims.expiresSeconds],
      [claim.notBefore, claims.notBeforeSeconds],
      [claim.confirmation, confirmation(encodeP256(claims.publicKey))],
      [claim.assert, claims.assert],
    ]),
  );
}

/** Undefined if a claim is missing, unknown, of another type, or beyond the limits. `suite` says which claims there must be. */
export function decodeTokenClaims(payload: Uint8Array, suite: 1 | 2): TokenClaims | undefined {
  const own = suite === 1 ? claim.confirmation : claim.issuer;
  const names = [claim.subject, claim.expires, claim.issued, claim.attributes, own];
  const map = asMapOf(decodeCbor(payload, maximumTokenBytes), names);
  if (!map) return undefined;
  const puId = asPuId(map.get(claim.subject));
  const [issuedSeconds, expiresSeconds] = [asTime(map.get(claim.issued)), asTime(map.get(claim.expires))];
  const attributes = decodeAttributes(map.get(claim.attributes));
  const publicKey = suite === 1 ? decodeX25519(map.get(claim.confirmation)) : undefined;
  const trustDomain = suite === 2 ? asName(map.get(claim.issuer)) : undefined;
  if (puId === undefined || issuedSeconds === undefined || expiresSeconds === undefined) return undefined;
  if (!attributes || (publicKey ?? trustDomain) === undefined) return undefined;
  return { puId, issuedSeconds, expiresSeconds, attributes, publicKey, trustDomain };
}

/** As `decodeTokenClaims`. Whether the patterns are supported is not checked here. */
export function decodeCertificateClaims(payload: Uint8Array): CertificateClaims | undefined {
  const names = [
    claim.issuer,
    claim.subject,
    claim.expires,
    claim.notBefore,
    claim.confirmation,
    claim.assert,
  ];
  const map = asMapOf(decodeCbor(payload, maximumCertificateBytes), names);
  if (!map) return undefined;
  const [trustDomain, node] = [asName(map.get(claim.issuer)), asName(map.get(claim.subject))];
  const notBeforeSeconds = asTime(map.get(claim.notBefore));
  const expiresSeconds = asTime(map.get(claim.expires));
  const publicKey = decodeP256(map.get(claim.confirmation));
  const assert = asPatterns(map.get(claim.assert));
  if (trustDomain === undefined || node === undefined || !publicKey || !assert) return undefined;
  if (notBeforeSeconds === undefined || expiresSeconds === undefined) return undefined;
  return { trustDomain, node, notBeforeSeconds, expiresSeconds, publicKey, assert };
}

/** What is wrong with an attribute set that someone wants to put into a token, or undefined. */
export function attributesProblem(attributes: Attributes): string | undefined {
  if (attributes.size > attributeLimits.attributes) {
    return `${attributes.size} attributes; the limit is ${attributeLimits.attributes}`;
  }
  for (const [key, values] of attributes) {
    if (!isKey(key)) return `key ${JSON.stringify(key)} is not allowed (${keyRule})`;
    if (values.length === 0 || values.length > attributeLimits.values) {
      return `${JSON.stringify(key)} has ${values.length} values; 1 to ${attributeLimits.values} are allowed`;
    }
    if (!values.every(isValue)) return `a value of ${JSON.stringify(key)} is not allowed (${valueRule})`;
    if (!isAscending(values)) return `the values of ${JSON.stringify(key)} are not sorted and distinct`;
  }
  return undefined;
}

const keyRule = `1 to ${attributeLimits.keyBytes} bytes without "=" or control characters; of those that begin with @ only @ns, @sa and @node`;
const valueRule = `at most ${attributeLimits.valueBytes} bytes without control characters`;

/** Attributes that the enforcer derives and a token may carry. */
const derivedKeys: ReadonlySet<string> = new Set(["@ns", "@sa", "@node"]);

function isKey(key: string): boolean {
  if (key.startsWith("@") && !derivedKeys.has(key)) return false;
  return key.length > 0 && !key.includes("=") && isText(key, attributeLimits.keyBytes);
}

const isValue = (value: unknown): value is string =>
  typeof value === "string" && isText(value, attributeLimits.valueBytes);

function isText(text: string, maximumBytes: number): boolean {
  return text.isWellFormed() && Buffer.byteLength(text) <= maximumBytes && !controlCharacter.test(text);
}

const isAscending = (values: readonly string[]): boolean =>
  values.every((value, index) => index === 0 || (values[index - 1] ?? "") < value);

/** One value travels as text, several as an array. */
function encodeValues(values: readonly string[]): CborValue {
  const [first] = values;
  return values.length === 1 && first !== undefined ? first : values;
}

function decodeAttributes(value: CborValue | undefined): Attributes | undefined {
  const map = asMap(value);
  if (!map) return undefined;
  const entries: [string, readonly string[]][] = [];
  for (const [key, values] of map) {
    const list = decodeValues(values);
    if (typeof key !== "string" || !list) return undefined;
    entries.push([key, list]);
  }
  const attributes: Attributes = new Map(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  return attributesProblem(attributes) === undefined ? attributes : undefined;
}

function decodeValues(value: CborValue): readonly string[] | undefined {
  if (typeof value === "string") return [value];
  return Array.isArray(value) && value.length > 1 && value.every(isValue) ? value : undefined;
}

/** `cnf` with a COSE_Key (RFC 8747 section 3.2). */
const confirmation = (key: CborMap): CborMap => new Map([[1, key]]);

const encodeX25519 = (publicKey: Uint8Array): CborMap =>
  new Map<number, CborValue>([
    [coseKey.kty, coseKey.okp],
    [coseKey.crv, coseKey.x25519],
    [coseKey.x, publicKey],
  ]);

function decodeX25519(value: CborValue | undefined): Uint8Array | undefined {
  const map = asMapOf(asMapOf(value, [1])?.get(1), [coseKey.kty, coseKey.crv, coseKey.x]);
  if (map?.get(coseKey.kty) !== coseKey.okp || map.get(coseKey.crv) !== coseKey.x25519) return undefined;
  return asBytes(map.get(coseKey.x), 32);
}

/** y travels as its sign: true is odd (RFC 9053 section 7.1.1), 03 in SEC 1. */
const encodeP256 = (point: Uint8Array): CborMap =>
  new Map<number, CborValue>([
    [coseKey.kty, coseKey.ec2],
    [coseKey.crv, coseKey.p256],
    [coseKey.x, point.subarray(1)],
    [coseKey.y, point[0] === 3],
  ]);

function decodeP256(value: CborValue | undefined): Uint8Array | undefined {
  const map = asMapOf(asMapOf(value, [1])?.get(1), [coseKey.kty, coseKey.crv, coseKey.x, coseKey.y]);
  if (map?.get(coseKey.kty) !== coseKey.ec2 || map.get(coseKey.crv) !== coseKey.p256) return undefined;
  const [x, odd] = [asBytes(map.get(coseKey.x), 32), map.get(coseKey.y)];
  if (!x || typeof odd !== "boolean") return undefined;
  return new Uint8Array([odd ? 3 : 2, ...x]);
}

const asPuId = (value: unknown): string | undefined =>
  typeof value === "string" && puIdForm.test(value) ? value : undefined;

/** A trust domain or a node name. */
export const isName = (value: unknown): value is string =>
  typeof value === "string" && value.length > 0 && isText(value, maximumNameBytes);

const asName = (value: unknown): string | undefined => (isName(value) ? value : undefined);

const asTime = (value: unknown): number | undefined =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= latestSeconds
    ? (value as number)
    : undefined;

const asPatterns = (value: unknown): readonly string[] | undefined =>
  Array.isArray(value) && value.length > 0 && value.length <= maximumPatterns && value.every(isValue)
    ? value
    : undefined;
