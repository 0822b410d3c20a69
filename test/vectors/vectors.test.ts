/** Owns the checks of the test vectors: by the second implementation, and by every cut and every changed byte. */
import { createSecretKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { deriveKeys } from "../../enforcer/handshake/key-schedule.ts";
import { decodeSyn, decodeSynAck } from "../../enforcer/handshake/messages.ts";
import type { SynAckMessage, SynMessage } from "../../enforcer/handshake/messages.ts";
import { clientTag, serverTag, tagsEqual } from "../../enforcer/handshake/proofs.ts";
import { hashSyn, hashSynAck } from "../../enforcer/handshake/transcript.ts";
import type { PairKeys, Suite } from "../../enforcer/identity/identity.ts";
import type { VectorCase } from "./cases.ts";
import { vectorCases } from "./cases.ts";
import type { HandshakeVector } from "./generate.ts";
import { renderVectors } from "./generate.ts";
import { referenceHandshake, referenceKeys, referenceSecret } from "./reference.ts";

const file = JSON.parse(readFileSync(new URL("handshake.json", import.meta.url), "utf8")) as {
  version: number;
  vectors: HandshakeVector[];
};

const pairs = vectorCases.map((c, i): { name: string; c: VectorCase; vector: HandshakeVector } => ({
  name: c.name,
  c,
  vector: file.vectors[i] as HandshakeVector,
}));

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function bytes(text: string): Buffer {
  return Buffer.from(text, "hex");
}

function keysOf(vector: HandshakeVector): PairKeys {
  return deriveKeys({
    suite: vector.suite as Suite,
    secret: createSecretKey(bytes(vector.secret)),
    clientTrustDomain: vector.clientTrustDomain,
    serverTrustDomain: vector.serverTrustDomain,
    clientTokenHash: bytes(vector.clientTokenHash),
    serverTokenHash: bytes(vector.serverTokenHash),
  });
}

it("the committed file is what the generator makes", () => {
  expect(file).toEqual({ version: 1, vectors: renderVectors() });
});

describe.each(pairs)("$name", ({ c, vector }) => {
  it("is what the independent implementation computes", () => {
    const keys = referenceKeys(c);
    const { synPayload, synAckPayload, th1, th2, tagS, tagC } = referenceHandshake(c);
    expect(vector).toMatchObject({
      secret: hex(referenceSecret(c)),
      kS: hex(keys.kS),
      kC: hex(keys.kC),
      kExport: hex(keys.kExport),
      synPayload: hex(synPayload),
      synAckPayload: hex(synAckPayload),
      th1: hex(th1),
      th2: hex(th2),
      tagS: hex(tagS),
      tagC: hex(tagC),
      ackOption: `fd147472${hex(tagC)}`,
    });
  });

  it("decodes to its inputs", () => {
    const buffers = (list: readonly Uint8Array[]): Buffer[] => list.map((one) => Buffer.from(one));
    expect(decodeSyn(bytes(vector.synPayload))).toEqual({
      versionMin: 1,
      versionMax: c.versionMax,
      suites: c.suites,
      flags: 0,
      window: c.clientWindow,
      nonce: Buffer.from(c.clientNonce),
      token: Buffer.from(c.clientToken),
      certificates: buffers(c.clientCertificates),
      extensions: Buffer.from(c.synExtensions),
    } satisfies SynMessage);
    expect(decodeSynAck(bytes(vector.synAckPayload))).toEqual({
      version: 1,
      suite: c.suite,
      flags: 0,
      window: c.serverWindow,
      nonce: Buffer.from(c.serverNonce),
      serverAddress: Buffer.from(c.serverAddress),
      serverPort: c.serverPort,
      clientAddress: Buffer.from(c.clientAddress),
      clientPort: c.clientPort,
      token: Buffer.from(c.serverToken),
      certificates: buffers(c.serverCertificates),
      extensions: Buffer.from(c.synAckExtensions),
      tag: bytes(vector.tagS),
    } satisfies SynAckMessage);
  });

  it("refuses every strict prefix of the SYN payload, or hashes it differently", () => {
    const whole = bytes(vector.synPayload);
    const boundary = whole.length - c.synExtensions.length;
    for (let length = 0; length < whole.length; length++) {
      const prefix = whole.subarray(0, length);
      const decoded = decodeSyn(prefix);
      if (length < boundary) expect([length, decoded]).toEqual([length, "message-malformed"]);
      expect(hex(hashSyn(prefix))).not.toBe(vector.th1);
    }
  });

  it("refuses every strict prefix of the SYN-ACK payload: by its layout, or else by its tag", () => {
    const whole = bytes(vector.synAckPayload);
    const boundary = whole.length - c.synAckExtensions.length;
    const { kS } = keysOf(vector);
    for (let length = 0; length < whole.length; length++) {
      const prefix = whole.subarray(0, length);
      const decoded = decodeSynAck(prefix);
      if (length < boundary) expect([length, decoded]).toEqual([length, "message-malformed"]);
      if (typeof decoded === "string") continue;
      const expected = serverTag(kS, hashSynAck(bytes(vector.th1), prefix));
      expect([length, tagsEqual(expected, decoded.tag)]).toEqual([length, false]);
    }
  });

  it("covers every bit of both payloads: no altered one has the same tags", () => {
    const { kS, kC } = keysOf(vector);
    const syn = bytes(vector.synPayload);
    const synAck = bytes(vector.synAckPayload);
    const tagsFor = (s: Uint8Array, sa: Uint8Array): string[] => {
      const th2 = hashSynAck(hashSyn(s), sa);
      const tagS = serverTag(kS, th2);
      return [hex(tagS), hex(clientTag(kC, th2, tagS))];
    };
    expect(tagsFor(syn, synAck)).toEqual([vector.tagS, vector.tagC]);
    for (const payload of [syn, synAck.subarray(0, -16)]) {
      for (let at = 0; at < payload.length; at++) {
        payload[at] = (payload[at] ?? 0) ^ 0x01;
        const [tagS, tagC] = tagsFor(syn, synAck);
        expect(tagS === vector.tagS || tagC === vector.tagC).toBe(false);
        payload[at] = (payload[at] ?? 0) ^ 0x01;
      }
    }
  });
});

it("the roles' keys differ, so that no end's proof can be reflected, not even of a unit that dials itself", () => {
  for (const { vector } of pairs) {
    expect(new Set([vector.kS, vector.kC, vector.kExport]).size).toBe(3);
    expect(new Set([vector.kS, vector.kC, vector.kExport]).has(vector.secret)).toBe(false);
  }
  const same = pairs.find(({ name }) => name.includes("the same unit"));
  expect(same?.vector.clientToken).toBe(same?.vector.serverToken);
  expect(same?.vector.tagS).not.toBe(same?.vector.tagC);
});

it("the worked example of PROTOCOL.md is the smallest vector", () => {
  const text = readFileSync(new URL("../../enforcer/handshake/PROTOCOL.md", import.meta.url), "utf8");
  const example = text.slice(text.indexOf("secret   ")).replaceAll(/\s/g, "");
  const vector = pairs[1]?.vector;
  expect(vector?.name).toBe("psk, smallest token, IPv6");
  const { secret, synPayload, synAckPayload, th1, th2, kS, kC, tagS, tagC, ackOption } =
    vector as HandshakeVector;
  expect(example).toBe(
    `secret${secret}SYN${synPayload}SYN-ACK${synAckPayload}TH1${th1}TH2${th2}kS${kS}kC${kC}tagS${tagS}tagC${tagC}ACK${ackOption}\`\`\``,
  );
});
