/** Makes the handshake's test vectors with the product's own code: `node test/vectors/generate.ts` writes `handshake.json`. */
import { createPrivateKey, createPublicKey, createSecretKey, diffieHellman, hash } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { writeFileSync } from "node:fs";
import { deriveKeys } from "../../enforcer/handshake/key-schedule.ts";
import { encodeSyn, encodeSynAck, protocolVersion } from "../../enforcer/handshake/messages.ts";
import { clientTag, serverTag } from "../../enforcer/handshake/proofs.ts";
import { hashSyn, hashSynAck } from "../../enforcer/handshake/transcript.ts";
import type { PairKeys } from "../../enforcer/identity/identity.ts";
import type { VectorCase } from "./cases.ts";
import { vectorCases } from "./cases.ts";

/** One vector: inputs (see `VectorCase`) and what follows from them; bytes as hex. */
export interface HandshakeVector {
  readonly name: string;
  readonly suite: number;
  readonly clientTrustDomain: string;
  readonly serverTrustDomain: string;
  readonly clientSecret: string;
  readonly serverSecret: string;
  readonly clientToken: string;
  readonly serverToken: string;
  readonly clientTokenHash: string;
  readonly serverTokenHash: string;
  /** X25519 agreement or pre-shared key: what the key schedule takes. */
  readonly secret: string;
  readonly kS: string;
  readonly kC: string;
  readonly kExport: string;
  readonly synPayload: string;
  readonly synAckPayload: string;
  readonly th1: string;
  readonly th2: string;
  readonly tagS: string;
  readonly tagC: string;
  /** The whole TCP option of the ACK. */
  readonly ackOption: string;
}

const largest = 65_535;
const noTag = new Uint8Array(16);
/** PKCS #8 around a raw X25519 private key (RFC 8410 §7). */
const pkcs8Prefix = Buffer.from("302e020100300506032b656e04220420", "hex");

function privateKey(raw: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([pkcs8Prefix, raw]), format: "der", type: "pkcs8" });
}

function sharedSecret(c: VectorCase): Buffer {
  if (c.suite === 2) return Buffer.from(c.clientSecret);
  const publicKey = createPublicKey(privateKey(c.serverSecret));
  return diffieHellman({ privateKey: privateKey(c.clientSecret), publicKey });
}

function synPayload(c: VectorCase): Buffer {
  const into = Buffer.alloc(largest);
  const length = encodeSyn(
    {
      versionMin: protocolVersion,
      versionMax: c.versionMax,
      suites: c.suites,
      flags: 0,
      window: c.clientWindow,
      nonce: c.clientNonce,
      token: c.clientToken,
      certificates: c.clientCertificates,
      extensions: c.synExtensions,
    },
    into,
  );
  return into.subarray(0, length);
}

/** Its last 16 bytes, tag S, are still zeros. */
function synAckPayload(c: VectorCase): Buffer {
  const into = Buffer.alloc(largest);
  const length = encodeSynAck(
    {
      version: protocolVersion,
      suite: c.suite,
      flags: 0,
      window: c.serverWindow,
      nonce: c.serverNonce,
      serverAddress: c.serverAddress,
      serverPort: c.serverPort,
      clientAddress: c.clientAddress,
      clientPort: c.clientPort,
      token: c.serverToken,
      certificates: c.serverCertificates,
      extensions: c.synAckExtensions,
      tag: noTag,
    },
    into,
  );
  return into.subarray(0, length);
}

function keysOf(c: VectorCase): PairKeys {
  return deriveKeys({
    suite: c.suite,
    secret: createSecretKey(sharedSecret(c)),
    clientTrustDomain: c.clientTrustDomain,
    serverTrustDomain: c.serverTrustDomain,
    clientTokenHash: hash("sha256", c.clientToken, "buffer"),
    serverTokenHash: hash("sha256", c.serverToken, "buffer"),
  });
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function exportKey(key: PairKeys["kS"]): string {
  return toHex(key instanceof Uint8Array ? key : key.export());
}

function render(c: VectorCase): HandshakeVector {
  const keys = keysOf(c);
  const syn = synPayload(c);
  const synAck = synAckPayload(c);
  const th1 = hashSyn(syn);
  const th2 = hashSynAck(th1, synAck);
  const tagS = serverTag(keys.kS, th2);
  synAck.set(tagS, synAck.length - tagS.length);
  const tagC = clientTag(keys.kC, th2, tagS);
  return {
    name: c.name,
    suite: c.suite,
    clientTrustDomain: c.clientTrustDomain,
    serverTrustDomain: c.serverTrustDomain,
    clientSecret: toHex(c.clientSecret),
    serverSecret: toHex(c.serverSecret),
    clientToken: toHex(c.clientToken),
    serverToken: toHex(c.serverToken),
    clientTokenHash: hash("sha256", c.clientToken, "hex"),
    serverTokenHash: hash("sha256", c.serverToken, "hex"),
    secret: toHex(sharedSecret(c)),
    kS: exportKey(keys.kS),
    kC: exportKey(keys.kC),
    kExport: exportKey(keys.kExport),
    synPayload: toHex(syn),
    synAckPayload: toHex(synAck),
    th1: toHex(th1),
    th2: toHex(th2),
    tagS: toHex(tagS),
    tagC: toHex(tagC),
    ackOption: `fd147472${toHex(tagC)}`,
  };
}

/** All vectors, as the committed file has them. */
export function renderVectors(): readonly HandshakeVector[] {
  return vectorCases.map(render);
}

if (import.meta.main) {
  writeFileSync(
    new URL("handshake.json", import.meta.url),
    `${JSON.stringify({ version: 1, vectors: renderVectors() }, undefined, 2)}\n`,
  );
}
