/** Owns the key schedule: from a shared secret and both tokens' hashes to kS, kC and kExport. Source: PROTOCOL.md. */
import { createSecretKey, hash, hkdfSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import type { KeyMaterial, PairKeys } from "../identity/identity.ts";
import { protocolVersion } from "./messages.ts";

const saltLabel = Buffer.from("trireme-cni handshake\0", "latin1");
const protocolTcp = 6;
const modeMutual = 0;
const keyLength = 32;
const maximumDomainLength = 255;

/**
 * Derives the three keys of a pair of tokens (`DeriveKeys`, for `IdentityCache`). The secret is the X25519 agreement in
 * suite 1 (not all-zero: the caller has refused that) and the pre-shared key in suite 2. About 30 µs: off the hot path.
 */
export function deriveKeys(material: KeyMaterial): PairKeys {
  const salt = hash("sha256", saltInput(material), "buffer");
  const tokens = Buffer.concat([material.clientTokenHash, material.serverTokenHash]);
  return {
    kS: expand(material.secret, salt, "S", tokens),
    kC: expand(material.secret, salt, "C", tokens),
    kExport: expand(material.secret, salt, "X", tokens),
  };
}

function saltInput({ suite, clientTrustDomain, serverTrustDomain }: KeyMaterial): Buffer {
  return Buffer.concat([
    saltLabel,
    Uint8Array.of(protocolTcp, protocolVersion, suite, modeMutual),
    lengthPrefixed(clientTrustDomain),
    lengthPrefixed(serverTrustDomain),
  ]);
}

function lengthPrefixed(domain: string): Buffer {
  const bytes = Buffer.from(domain, "utf8");
  if (bytes.length > maximumDomainLength) throw new RangeError("trust domain is longer than 255 bytes");
  return Buffer.concat([Uint8Array.of(bytes.length), bytes]);
}

function expand(secret: KeyObject, salt: Buffer, role: "S" | "C" | "X", tokens: Buffer): KeyObject {
  const info = Buffer.concat([Buffer.from(role, "latin1"), tokens]);
  return createSecretKey(new Uint8Array(hkdfSync("sha256", secret, salt, info, keyLength)));
}
