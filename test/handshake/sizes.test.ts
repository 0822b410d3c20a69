/** Owns the sizes that the protocol promises, measured with real tokens and real packets. */
import { createSecretKey, generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  encodeSyn,
  encodeSynAck,
  suiteBit,
  synAckLength,
  synLength,
} from "../../enforcer/handshake/messages.ts";
import { issueCertificate } from "../../enforcer/identity/certificate.ts";
import { cwtCodec } from "../../enforcer/identity/cwt.ts";
import type { OwnToken, Signer } from "../../enforcer/identity/identity.ts";
import { makePreSharedKey } from "../../enforcer/identity/keys.ts";
import { Packet } from "../../enforcer/packet/packet.ts";
import { parsePacket } from "../../enforcer/packet/parse.ts";
import { TcpRewriter } from "../../enforcer/packet/tcp-rewriter.ts";
import { attributesFromObject } from "../../enforcer/policy/attributes.ts";
import { tcpPacket } from "../packet/build.ts";

const nowMs = Date.parse("2026-11-22T03:00:00Z");
const common = { trustDomain: "cluster.local", node: "worker-node-a", tokenLifetimeMs: 600_000 };
const empty = new Uint8Array(0);
const sixteen = new Uint8Array(16);
/** MSS, SACK permitted, timestamps, window scale, as Linux sends them: 20 bytes. */
const linuxSynOptions = "020405b40402080a00000001000000000103030a";

function pkiSigner(): Signer {
  const authority = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const notBeforeSeconds = nowMs / 1000 - 3600;
  const expiresSeconds = notBeforeSeconds + 86_400;
  const times = { notBeforeSeconds, expiresSeconds };
  const certificate = issueCertificate(
    { ...common, publicKey, ...times, assert: ["*"] },
    authority.privateKey,
  );
  return { suite: 1, privateKey, certificate, certificateExpiresAtMs: expiresSeconds * 1000, ...common };
}

function pskSigner(): Signer {
  const psk = makePreSharedKey(createSecretKey(Buffer.alloc(32, 1)));
  if (psk === undefined) throw new Error("secret too short");
  return { suite: 2, psk, ...common };
}

/** A token with labels of 31 characters, key and value together, and `@ns`, `@sa`, `@node`. */
function mint(signer: Signer, labels: number): OwnToken {
  const names = Array.from({ length: labels }, (_, i) => `app.kubernetes/k${String(i).padStart(2, "0")}`);
  const source = Object.fromEntries(names.map((name) => [name, "v".repeat(31 - name.length)]));
  const own = { "@ns": "production", "@sa": "frontend", "@node": common.node };
  return cwtCodec
    .minter(signer)
    .mint({ puId: "0123456789abcdef", attributes: attributesFromObject({ ...source, ...own }) }, nowMs);
}

function synAckPayload(own: OwnToken): Uint8Array {
  const into = new Uint8Array(4096);
  const { suite, bytes: token, certificates } = own;
  const addresses = { serverAddress: sixteen, serverPort: 80, clientAddress: sixteen, clientPort: 40_000 };
  const rest = { version: 1, flags: 0, window: 65_160, nonce: sixteen, extensions: empty, tag: sixteen };
  return into.subarray(0, encodeSynAck({ suite, token, certificates, ...addresses, ...rest }, into));
}

function synPayload(own: OwnToken): Uint8Array {
  const into = new Uint8Array(4096);
  const { suite, bytes: token, certificates } = own;
  const versions = { versionMin: 1, versionMax: 1, suites: suiteBit(suite) };
  const rest = { flags: 0, window: 64_240, nonce: sixteen, extensions: empty };
  return into.subarray(0, encodeSyn({ token, certificates, ...versions, ...rest }, into));
}

/** Bytes of the whole IP packet, as it is really built. */
function packetLength(version: 4 | 6, flags: number, payload: Uint8Array): number {
  const segment = tcpPacket(version, { flags, options: linuxSynOptions });
  const packet = new Packet();
  expect(parsePacket(segment, 0, segment.length, packet)).toBeUndefined();
  const rewriter = new TcpRewriter();
  rewriter.begin(packet);
  rewriter.insertMarker();
  rewriter.replacePayload(payload);
  return rewriter.finish().length;
}

interface Sizes {
  readonly token: number;
  readonly certificates: number;
  readonly syn: number;
  readonly synAck: number;
  readonly syn4: number;
  readonly syn6: number;
  readonly synAck4: number;
  readonly synAck6: number;
}

function measure(own: OwnToken): Sizes {
  const syn = synPayload(own);
  const synAck = synAckPayload(own);
  expect(syn).toHaveLength(synLength(own.bytes, own.certificates));
  expect(synAck).toHaveLength(synAckLength(own.bytes, own.certificates));
  return {
    token: own.bytes.length,
    certificates: own.certificates.reduce((sum, one) => sum + one.length, 0),
    syn: syn.length,
    synAck: synAck.length,
    syn4: packetLength(4, 0x02, syn),
    syn6: packetLength(6, 0x02, syn),
    synAck4: packetLength(4, 0x12, synAck),
    synAck6: packetLength(6, 0x12, synAck),
  };
}

interface Expected {
  readonly labels: number;
  readonly pki: Sizes;
  readonly psk: Sizes;
}

/** Columns: token, certificates, SYN and SYN-ACK payload, then whole packets: SYN in IPv4 and IPv6, SYN-ACK in IPv4 and IPv6. */
function row(...[token, certificates, syn, synAck, syn4, syn6, synAck4, synAck6]: SizeRow): Sizes {
  return { token, certificates, syn, synAck, syn4, syn6, synAck4, synAck6 };
}

type SizeRow = [number, number, number, number, number, number, number, number];

/** The table of PROTOCOL.md, "Sizes". */
const table: readonly Expected[] = [
  {
    labels: 5,
    pki: row(368, 180, 586, 636, 650, 670, 700, 720),
    psk: row(318, 0, 354, 404, 418, 438, 468, 488),
  },
  {
    labels: 10,
    pki: row(533, 180, 751, 801, 815, 835, 865, 885),
    psk: row(483, 0, 519, 569, 583, 603, 633, 653),
  },
  {
    labels: 20,
    pki: row(863, 180, 1081, 1131, 1145, 1165, 1195, 1215),
    psk: row(813, 0, 849, 899, 913, 933, 963, 983),
  },
];

describe.each(table)("with real tokens of $labels labels, and Linux's options", ({ labels, pki, psk }) => {
  it("are these, and fit MTU 1500", () => {
    expect(measure(mint(pkiSigner(), labels))).toEqual(pki);
    expect(measure(mint(pskSigner(), labels))).toEqual(psk);
    expect(pki.synAck6).toBeLessThanOrEqual(1500);
  });
});

it("are the table of PROTOCOL.md", () => {
  const text = readFileSync(
    new URL("../../enforcer/handshake/PROTOCOL.md", import.meta.url),
    "utf8",
  ).replaceAll(/ +/g, " ");
  const line = (suite: number, labels: number, sizes: Sizes): string =>
    `| ${[suite, labels, ...Object.values<number>({ ...sizes })].join(" | ")} |`;
  for (const { labels, pki, psk } of table) {
    expect(text).toContain(line(1, labels, pki));
    expect(text).toContain(line(2, labels, psk));
  }
});
