/** Inputs of the handshake's test vectors: fixed keys, nonces, tokens and addresses. Tokens are opaque here, so any bytes do. */
import { sha256 } from "@noble/hashes/sha2.js";

export interface VectorCase {
  readonly name: string;
  readonly suite: 1 | 2;
  readonly versionMax: number;
  readonly suites: number;
  readonly clientTrustDomain: string;
  readonly serverTrustDomain: string;
  /** Suite 1: X25519 private keys, 32 bytes each. Suite 2: the pre-shared key for both. */
  readonly clientSecret: Uint8Array;
  readonly serverSecret: Uint8Array;
  readonly clientToken: Uint8Array;
  readonly serverToken: Uint8Array;
  readonly clientCertificates: readonly Uint8Array[];
  readonly serverCertificates: readonly Uint8Array[];
  readonly clientNonce: Uint8Array;
  readonly serverNonce: Uint8Array;
  readonly clientWindow: number;
  readonly serverWindow: number;
  readonly clientAddress: Uint8Array;
  readonly clientPort: number;
  readonly serverAddress: Uint8Array;
  readonly serverPort: number;
  readonly synExtensions: Uint8Array;
  readonly synAckExtensions: Uint8Array;
}

/** `length` bytes that follow from a label: SHA-256 in counter mode. */
function bytes(label: string, length: number): Uint8Array {
  const out = new Uint8Array(Math.ceil(length / 32) * 32);
  for (let i = 0; i * 32 < length; i++) out.set(sha256(new TextEncoder().encode(`${label} ${i}`)), i * 32);
  return out.subarray(0, length);
}

function hex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
}

const empty = new Uint8Array(0);
const alice = bytes("X25519 key of the client", 32);
const bob = bytes("X25519 key of the server", 32);
const psk = bytes("pre-shared key", 32);

const base: VectorCase = {
  name: "",
  suite: 2,
  versionMax: 1,
  suites: 2,
  clientTrustDomain: "cluster.local",
  serverTrustDomain: "cluster.local",
  clientSecret: psk,
  serverSecret: psk,
  clientToken: bytes("client token", 300),
  serverToken: bytes("server token", 280),
  clientCertificates: [],
  serverCertificates: [],
  clientNonce: bytes("client nonce", 16),
  serverNonce: bytes("server nonce", 16),
  clientWindow: 64_240,
  serverWindow: 65_160,
  clientAddress: hex("00000000000000000000ffff0a010002"),
  clientPort: 40_000,
  serverAddress: hex("00000000000000000000ffff0a010003"),
  serverPort: 80,
  synExtensions: empty,
  synAckExtensions: empty,
};

const pki: VectorCase = {
  ...base,
  suite: 1,
  suites: 1,
  clientSecret: alice,
  serverSecret: bob,
  clientToken: bytes("client token", 577),
  serverToken: bytes("server token", 577),
  clientCertificates: [bytes("client certificate", 230)],
  serverCertificates: [bytes("server certificate", 230)],
};

const ipv6 = {
  clientAddress: hex("fd000001000000000000000000000002"),
  serverAddress: hex("fd000001000000000000000000000003"),
} as const;

export const vectorCases: readonly VectorCase[] = [
  { ...base, name: "psk" },
  { ...base, name: "psk, smallest token, IPv6", ...ipv6, clientToken: hex("a0"), serverToken: hex("a1") },
  { ...pki, name: "pki, 10 labels" },
  {
    ...pki,
    name: "pki, 20 labels, IPv6",
    ...ipv6,
    clientToken: bytes("client token", 918),
    serverToken: bytes("server token", 918),
  },
  { ...pki, name: "pki, two trust domains", clientTrustDomain: "a.example", serverTrustDomain: "b.example" },
  {
    ...pki,
    name: "pki, both ends the same unit",
    serverSecret: alice,
    serverToken: pki.clientToken,
    serverCertificates: pki.clientCertificates,
  },
  {
    ...pki,
    name: "pki, offer of versions 1 to 3 and all suites, windows raised, four certificates",
    versionMax: 3,
    suites: 0xffff,
    clientWindow: 536,
    serverWindow: 0,
    clientCertificates: [1, 2, 3, 4].map((n) => bytes(`certificate ${n}`, n)),
  },
  {
    ...base,
    name: "psk, extensions that are ignored",
    synExtensions: hex("0003 0010 00112233445566778899aabbccddeeff 7fff 0000"),
    synAckExtensions: hex("0001 0004 cafebabe"),
  },
];
