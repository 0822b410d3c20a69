/** Owns COSE_Sign1 (ES256) and COSE_Mac0 (HMAC 256/256): exactly the forms that we use, untagged. Source: RFC 9052 sections 4.2, 4.4, 6.2, 6.3; RFC 9053 sections 2.1, 3.1. */
import { createHmac, type KeyObject, sign, timingSafeEqual, verify } from "node:crypto";
import { asArray, asBytes, asMap, type CborMap, decodeCbor, encodeCbor } from "./cbor.ts";

/** COSE algorithm numbers. Which one is right comes from the suite, never from an object. */
export const coseAlgorithms = { es256: -7, hmac256: 5 } as const;
type CoseAlgorithm = (typeof coseAlgorithms)[keyof typeof coseAlgorithms];

/** Bytes of a key id: the start of the key's RFC 7638 thumbprint. */
export const keyIdLength = 8;

/** COSE header labels, RFC 9052 section 3.1. */
const header = { algorithm: 1, kid: 4 } as const;

/** Each kind of object has its own context (`external_aad`), so none can stand in for another. */
type CoseContext = "trireme-cni token v1" | "trireme-cni certificate v1";

/** A COSE object taken apart. Nothing of it is verified. */
export interface CoseObject {
  /** As the header says, which proves nothing: compare, don't obey. */
  readonly algorithm: unknown;
  /** 16 hex digits. */
  readonly keyId: string | undefined;
  readonly protectedHeader: Uint8Array;
  readonly payload: Uint8Array;
  /** Signature (r ‖ s, 64 bytes) or MAC (32 bytes). */
  readonly proof: Uint8Array;
}

const proofLengths: ReadonlySet<number> = new Set([32, 64]);

/** Takes an object apart; undefined if it isn't `[protected, {}, payload, proof]` in the strict encoding, or a header is unknown. */
export function decodeCose(bytes: Uint8Array, maximumBytes: number): CoseObject | undefined {
  const parts = asArray(decodeCbor(bytes, maximumBytes));
  if (parts?.length !== 4) return undefined;
  const [protectedHeader, payload, proof] = [asBytes(parts[0]), asBytes(parts[2]), asBytes(parts[3])];
  if (!protectedHeader || !payload || !proof || !proofLengths.has(proof.length)) return undefined;
  if (asMap(parts[1])?.size !== 0) return undefined;
  const headers = asMap(decodeCbor(protectedHeader, maximumBytes));
  const names = headers && decodeHeaders(headers);
  return names && { ...names, protectedHeader, payload, proof };
}

function decodeHeaders(headers: CborMap): Pick<CoseObject, "algorithm" | "keyId"> | undefined {
  const known = headers.has(header.kid) ? 2 : 1;
  if (!headers.has(header.algorithm) || headers.size !== known) return undefined;
  const algorithm = headers.get(header.algorithm);
  if (known === 1) return { algorithm, keyId: undefined };
  const kid = asBytes(headers.get(header.kid), keyIdLength);
  return kid && { algorithm, keyId: Buffer.from(kid).toString("hex") };
}

/** Signs with a P-256 key. `keyId` (16 hex digits) goes into the protected header if it is given. */
export function signCose(
  privateKey: KeyObject,
  keyId: string | undefined,
  context: CoseContext,
  payload: Uint8Array,
): Uint8Array {
  const protectedHeader = encodeHeaders(coseAlgorithms.es256, keyId);
  const message = authenticated("Signature1", protectedHeader, context, payload);
  const signature = sign("sha256", message, { key: privateKey, dsaEncoding: "ieee-p1363" });
  return encodeCbor([protectedHeader, new Map(), payload, new Uint8Array(signature)]);
}

/** MACs with a 32-byte HMAC key. */
export function macCose(
  key: KeyObject,
  keyId: string,
  context: CoseContext,
  payload: Uint8Array,
): Uint8Array {
  const protectedHeader = encodeHeaders(coseAlgorithms.hmac256, keyId);
  const tag = hmac(key, authenticated("MAC0", protectedHeader, context, payload));
  return encodeCbor([protectedHeader, new Map(), payload, new Uint8Array(tag)]);
}

/** Whether `publicKey` (P-256) signed this object in this context. */
export function isSigned(object: CoseObject, context: CoseContext, publicKey: KeyObject): boolean {
  if (object.proof.length !== 64) return false;
  const message = authenticated("Signature1", object.protectedHeader, context, object.payload);
  return verify("sha256", message, publicKey, encodeDer(object.proof));
}

/**
 * ECDSA-Sig-Value (RFC 3279 section 2.2.3) of r ‖ s. With it `verify` takes the key as it is; with `dsaEncoding` it wants an options
 * object, which costs half as much again as the verification.
 */
function encodeDer(signature: Uint8Array): Buffer {
  const [r, s] = [encodeInteger(signature.subarray(0, 32)), encodeInteger(signature.subarray(32))];
  return Buffer.from([0x30, r.length + s.length, ...r, ...s]);
}

/** INTEGER: no zeros in front, but one where the first bit would make it negative. */
function encodeInteger(bytes: Uint8Array): number[] {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const sign = (bytes[start] ?? 0) < 0x80 ? [] : [0];
  const value = [...sign, ...bytes.subarray(start)];
  return [0x02, value.length, ...value];
}

/** Whether the holder of `key` made this object's MAC in this context. In constant time. */
export function isAuthentic(object: CoseObject, context: CoseContext, key: KeyObject): boolean {
  const expected = hmac(key, authenticated("MAC0", object.protectedHeader, context, object.payload));
  return object.proof.length === expected.length && timingSafeEqual(expected, object.proof);
}

function hmac(key: KeyObject, message: Uint8Array): Buffer {
  return createHmac("sha256", key).update(message).digest();
}

function encodeHeaders(algorithm: CoseAlgorithm, keyId: string | undefined): Uint8Array {
  const headers = new Map<number, number | Uint8Array>([[header.algorithm, algorithm]]);
  if (keyId !== undefined) headers.set(header.kid, Buffer.from(keyId, "hex"));
  return encodeCbor(headers);
}

/** Sig_structure and MAC_structure: what the proof covers. */
function authenticated(
  structure: "Signature1" | "MAC0",
  protectedHeader: Uint8Array,
  context: CoseContext,
  payload: Uint8Array,
): Uint8Array {
  return encodeCbor([structure, protectedHeader, Buffer.from(context), payload]);
}
