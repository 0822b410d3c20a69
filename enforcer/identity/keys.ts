/** Owns the forms of keys: ids, compressed P-256 points, raw X25519 keys, what is derived from a pre-shared key. Source: RFC 7638, RFC 8037, SEC 1 section 2.3.3. */
import {
  createHash,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  hkdfSync,
  type JsonWebKey,
  type KeyObject,
} from "node:crypto";
import type { PreSharedKey } from "./identity.ts";
import { keyIdLength } from "./cose.ts";

/** Fewer random bytes are no pre-shared key: tags could be guessed offline. */
export const minimumPskBytes = 32;

/** SubjectPublicKeyInfo (RFC 5480) up to the point: id-ecPublicKey, prime256v1, a BIT STRING of 33 bytes. */
const compressedP256Prefix = Buffer.from("3039301306072a8648ce3d020106082a8648ce3d030107032200", "hex");

/** Members that RFC 7638 section 3.2 (RFC 8037 section 2) hashes, in its order. */
const thumbprintMembers: Readonly<Record<string, readonly (keyof JsonWebKey)[]>> = {
  EC: ["crv", "kty", "x", "y"],
  OKP: ["crv", "kty", "x"],
  oct: ["k", "kty"],
};

/** RFC 7638 thumbprint by SHA-256, 32 bytes. A private key has its public key's. */
export function thumbprint(key: KeyObject): Buffer {
  const jwk = key.export({ format: "jwk" });
  const members = thumbprintMembers[jwk.kty ?? ""] ?? [];
  const canonical = JSON.stringify(Object.fromEntries(members.map((name) => [name, jwk[name]])));
  return createHash("sha256").update(canonical).digest();
}

/** 16 hex digits: the first 8 bytes of the thumbprint. `kid` on the wire. */
export function keyId(key: KeyObject): string {
  return thumbprint(key).toString("hex", 0, keyIdLength);
}

/** The compressed point of a P-256 key (public or private), 33 bytes. */
export function compressP256(key: KeyObject): Uint8Array {
  const { crv, x = "", y = "" } = key.export({ format: "jwk" });
  if (crv !== "P-256") throw new TypeError("not a P-256 key");
  const odd = (Buffer.from(y, "base64url").at(-1) ?? 0) & 1;
  return new Uint8Array([2 + odd, ...Buffer.from(x, "base64url")]);
}

/** From a compressed point; undefined if it is not on the curve. */
export function importP256(point: Uint8Array): KeyObject | undefined {
  try {
    return createPublicKey({
      key: Buffer.concat([compressedP256Prefix, point]),
      format: "der",
      type: "spki",
    });
  } catch {
    return undefined;
  }
}

/** The raw form of an X25519 key (public or private): 32 bytes. */
export function rawX25519(key: KeyObject): Uint8Array {
  const { x = "" } = key.export({ format: "jwk" });
  return new Uint8Array(Buffer.from(x, "base64url"));
}

/** From 32 raw bytes. Every such string is a point; those of small order show in the agreement. */
export function importX25519(raw: Uint8Array): KeyObject | undefined {
  try {
    const x = Buffer.from(raw).toString("base64url");
    return createPublicKey({ key: { kty: "OKP", crv: "X25519", x }, format: "jwk" });
  } catch {
    return undefined;
  }
}

export function generateX25519(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync("x25519");
}

/** Prepares a pre-shared key; undefined if it is too short. */
export function makePreSharedKey(secret: KeyObject): PreSharedKey | undefined {
  if ((secret.symmetricKeySize ?? 0) < minimumPskBytes) return undefined;
  return { id: keyId(secret), secret, tokenKey: deriveTokenKey(secret) };
}

/** Apart from the connection's key schedule, whose salt begins with "trireme-cni handshake". */
function deriveTokenKey(secret: KeyObject): KeyObject {
  const key = hkdfSync("sha256", secret, "trireme-cni token", "COSE_Mac0 HMAC 256/256 v1", 32);
  return createSecretKey(Buffer.from(key));
}
