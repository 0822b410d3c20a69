/**
 * A second implementation of the handshake's bytes and proofs, written from PROTOCOL.md with @noble/curves and
 * @noble/hashes: it shares neither code nor cryptographic library with the product.
 */
import { x25519 } from "@noble/curves/ed25519.js";
import { expand, extract } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { concatBytes, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import type { VectorCase } from "./cases.ts";

const magic = hexToBytes("d754524952454d45");

function u8(value: number): Uint8Array {
  return Uint8Array.of(value);
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 255);
}

function u32(value: number): Uint8Array {
  return concatBytes(u16(Math.floor(value / 65_536)), u16(value % 65_536));
}

function identity(token: Uint8Array, certificates: readonly Uint8Array[]): Uint8Array {
  const list = certificates.map((certificate) => concatBytes(u16(certificate.length), certificate));
  return concatBytes(u16(token.length), token, u8(certificates.length), ...list);
}

function referenceSyn(c: VectorCase): Uint8Array {
  return concatBytes(
    magic,
    u8(1),
    u8(1),
    u8(c.versionMax),
    u16(c.suites),
    u16(0),
    u16(c.clientWindow),
    c.clientNonce,
    identity(c.clientToken, c.clientCertificates),
    c.synExtensions,
  );
}

/** Without tag S. */
function referenceSynAckBody(c: VectorCase): Uint8Array {
  return concatBytes(
    magic,
    u8(2),
    u8(1),
    u8(c.suite),
    u16(0),
    u16(c.serverWindow),
    c.serverNonce,
    c.serverAddress,
    u16(c.serverPort),
    c.clientAddress,
    u16(c.clientPort),
    identity(c.serverToken, c.serverCertificates),
    c.synAckExtensions,
  );
}

interface ReferenceKeys {
  readonly kS: Uint8Array;
  readonly kC: Uint8Array;
  readonly kExport: Uint8Array;
}

/** Computed from the server's side: its private key and the client's public one. */
export function referenceSecret(c: VectorCase): Uint8Array {
  if (c.suite === 2) return c.serverSecret;
  return x25519.getSharedSecret(c.serverSecret, x25519.getPublicKey(c.clientSecret));
}

export function referenceKeys(c: VectorCase): ReferenceKeys {
  const domain = (name: string): Uint8Array => concatBytes(u8(utf8ToBytes(name).length), utf8ToBytes(name));
  const salt = sha256(
    concatBytes(
      utf8ToBytes("trireme-cni handshake\0"),
      Uint8Array.of(6, 1, c.suite, 0),
      domain(c.clientTrustDomain),
      domain(c.serverTrustDomain),
    ),
  );
  const prk = extract(sha256, referenceSecret(c), salt);
  const tokens = concatBytes(sha256(c.clientToken), sha256(c.serverToken));
  const key = (role: string): Uint8Array => expand(sha256, prk, concatBytes(utf8ToBytes(role), tokens), 32);
  return { kS: key("S"), kC: key("C"), kExport: key("X") };
}

function referenceTh1(syn: Uint8Array): Uint8Array {
  return sha256(concatBytes(u32(syn.length), syn));
}

function referenceTh2(th1: Uint8Array, synAckWithoutTag: Uint8Array): Uint8Array {
  return sha256(concatBytes(th1, u32(synAckWithoutTag.length), synAckWithoutTag));
}

function referenceTagS(kS: Uint8Array, th2: Uint8Array): Uint8Array {
  return hmac(sha256, kS, concatBytes(utf8ToBytes("S"), th2)).subarray(0, 16);
}

function referenceTagC(kC: Uint8Array, th2: Uint8Array, tagS: Uint8Array): Uint8Array {
  return hmac(sha256, kC, concatBytes(utf8ToBytes("C"), th2, tagS)).subarray(0, 16);
}

interface ReferenceHandshake {
  readonly synPayload: Uint8Array;
  readonly synAckPayload: Uint8Array;
  readonly th1: Uint8Array;
  readonly th2: Uint8Array;
  readonly tagS: Uint8Array;
  readonly tagC: Uint8Array;
}

export function referenceHandshake(c: VectorCase): ReferenceHandshake {
  const { kS, kC } = referenceKeys(c);
  const synPayload = referenceSyn(c);
  const body = referenceSynAckBody(c);
  const th1 = referenceTh1(synPayload);
  const th2 = referenceTh2(th1, body);
  const tagS = referenceTagS(kS, th2);
  const tagC = referenceTagC(kC, th2, tagS);
  return { synPayload, synAckPayload: concatBytes(body, tagS), th1, th2, tagS, tagC };
}
