/** Owns the tests of both messages: layout, every refusal, round trips, random input. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeSyn,
  decodeSynAck,
  encodeSyn,
  encodeSynAck,
  hasMagic,
  suiteBit,
  synAckLength,
  synLength,
} from "../../enforcer/handshake/messages.ts";
import type { SynAckMessage, SynMessage } from "../../enforcer/handshake/messages.ts";
import type { Reason } from "../../enforcer/reason.ts";

const nonce = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");
const empty = Buffer.alloc(0);

const syn: SynMessage = {
  versionMin: 1,
  versionMax: 1,
  suites: 1,
  flags: 0,
  window: 64_240,
  nonce,
  token: Buffer.from("token"),
  certificates: [Buffer.from("certificate")],
  extensions: empty,
};

const synAck: SynAckMessage = {
  version: 1,
  suite: 1,
  flags: 0,
  window: 65_160,
  nonce,
  serverAddress: Buffer.from("00000000000000000000ffff0a010003", "hex"),
  serverPort: 80,
  clientAddress: Buffer.from("00000000000000000000ffff0a010002", "hex"),
  clientPort: 40_000,
  token: Buffer.from("token"),
  certificates: [Buffer.from("certificate")],
  extensions: empty,
  tag: Buffer.alloc(16, 0xee),
};

function encode(message: SynMessage | SynAckMessage): Buffer {
  const into = Buffer.alloc(8_000);
  const length = "versionMin" in message ? encodeSyn(message, into) : encodeSynAck(message, into);
  return into.subarray(0, length);
}

/** Where fields lie: magic 8, type 1, then those of PROTOCOL.md. */
const synAt = { type: 8, versionMin: 9, versionMax: 10, suites: 11, flags: 13, token: 33 } as const;
const synAckAt = {
  type: 8,
  version: 9,
  suite: 10,
  flags: 11,
  serverPort: 47,
  clientPort: 65,
  token: 67,
} as const;

function patched(bytes: Buffer, at: number, value: string): Buffer {
  const copy = Buffer.from(bytes);
  copy.set(Buffer.from(value, "hex"), at);
  return copy;
}

describe("layout", () => {
  it("of a SYN payload", () => {
    expect(encode(syn).toString("hex")).toBe(
      [
        "d754524952454d45",
        "01",
        "0101",
        "0001",
        "0000",
        "faf0",
        nonce.toString("hex"),
        "0005",
        Buffer.from("token").toString("hex"),
        "01",
        "000b",
        Buffer.from("certificate").toString("hex"),
      ].join(""),
    );
  });

  it("of a SYN-ACK payload", () => {
    expect(encode({ ...synAck, extensions: Buffer.from("00030000", "hex") }).toString("hex")).toBe(
      [
        "d754524952454d45",
        "02",
        "01",
        "01",
        "0000",
        "fe88",
        nonce.toString("hex"),
        "00000000000000000000ffff0a010003",
        "0050",
        "00000000000000000000ffff0a010002",
        "9c40",
        "0005",
        Buffer.from("token").toString("hex"),
        "01",
        "000b",
        Buffer.from("certificate").toString("hex"),
        "00030000",
        "ee".repeat(16),
      ].join(""),
    );
  });

  it("numbers suites from bit 0", () => {
    expect([suiteBit(1), suiteBit(2), suiteBit(16)]).toEqual([1, 2, 0x8000]);
  });

  it("has the length that the size functions say", () => {
    for (const certificates of [[], [Buffer.alloc(230)], [Buffer.alloc(1), Buffer.alloc(70)]]) {
      const token = Buffer.alloc(577, 1);
      expect(encode({ ...syn, token, certificates })).toHaveLength(synLength(token, certificates));
      expect(encode({ ...synAck, token, certificates })).toHaveLength(synAckLength(token, certificates));
    }
  });
});

describe("hasMagic", () => {
  it("needs all eight bytes", () => {
    const magic = Buffer.from("d754524952454d45", "hex");
    expect(hasMagic(Buffer.concat([magic, Buffer.from("x")]))).toBe(true);
    for (let length = 0; length < 8; length++) expect(hasMagic(magic.subarray(0, length))).toBe(false);
    for (let at = 0; at < 8; at++) expect(hasMagic(patched(magic, at, "00"))).toBe(false);
  });
});

describe("a SYN payload is refused", () => {
  const good = encode(syn);

  it.each<[string, Buffer, Reason]>([
    ["empty", empty, "message-malformed"],
    ["without magic", patched(good, 0, "d6"), "message-malformed"],
    ["of type 0", patched(good, synAt.type, "00"), "message-type"],
    ["of type SYN-ACK", encode(synAck), "message-type"],
    ["of type long ACK", patched(good, synAt.type, "03"), "message-type"],
    ["from version 0", patched(good, synAt.versionMin, "00"), "message-malformed"],
    ["with no version between", patched(good, synAt.versionMin, "0201"), "message-malformed"],
    ["from version 2", patched(good, synAt.versionMin, "0203"), "version-unsupported"],
    ["that offers no suite", patched(good, synAt.suites, "0000"), "message-malformed"],
    ["with flag 0", patched(good, synAt.flags, "0001"), "flags-unknown"],
    ["with flag 15", patched(good, synAt.flags, "8000"), "flags-unknown"],
    ["with an empty token", encode({ ...syn, token: empty }), "message-malformed"],
    ["whose token overruns", patched(good, synAt.token, "ffff"), "message-malformed"],
    ["with an empty certificate", encode({ ...syn, certificates: [empty] }), "message-malformed"],
    [
      "with five certificates",
      encode({ ...syn, certificates: Array<Buffer>(5).fill(nonce) }),
      "message-malformed",
    ],
    [
      "with 255 certificates",
      encode({ ...syn, certificates: Array<Buffer>(255).fill(nonce) }),
      "message-malformed",
    ],
    ["with a byte after it", Buffer.concat([good, Buffer.from([0])]), "message-malformed"],
    [
      "with an extension that overruns",
      Buffer.concat([good, Buffer.from("00030001", "hex")]),
      "message-malformed",
    ],
    ["with a critical extension", Buffer.concat([good, Buffer.from("80000000", "hex")]), "extension-unknown"],
    [
      "with a critical extension after another",
      Buffer.concat([good, Buffer.from("0001000142ffff0000", "hex")]),
      "extension-unknown",
    ],
    [
      "with an extension twice",
      Buffer.concat([good, Buffer.from("0003000000030000", "hex")]),
      "message-malformed",
    ],
    [
      "with extensions out of order",
      Buffer.concat([good, Buffer.from("0004000000030000", "hex")]),
      "message-malformed",
    ],
    [
      "with rubbish after a critical extension",
      Buffer.concat([good, Buffer.from("8000000000", "hex")]),
      "message-malformed",
    ],
  ])("%s", (_name, bytes, reason) => {
    expect(decodeSyn(bytes)).toBe(reason);
  });

  it("at every byte where it may be cut", () => {
    for (let length = 0; length < good.length; length++) {
      expect([length, decodeSyn(good.subarray(0, length))]).toEqual([length, "message-malformed"]);
    }
  });

  it("but not for versions and suites to come", () => {
    const later = patched(patched(good, synAt.versionMax, "ff"), synAt.suites, "ffff");
    expect(decodeSyn(later)).toEqual({ ...syn, versionMax: 255, suites: 0xffff });
  });
});

describe("a SYN-ACK payload is refused", () => {
  const good = encode(synAck);
  const withExtensions = (extensions: string): Buffer =>
    encode({ ...synAck, extensions: Buffer.from(extensions, "hex") });

  it.each<[string, Buffer, Reason]>([
    ["empty", empty, "message-malformed"],
    ["without magic", patched(good, 7, "00"), "message-malformed"],
    ["of type SYN: one's own, reflected", encode(syn), "message-type"],
    ["of type long ACK", patched(good, synAckAt.type, "03"), "message-type"],
    ["of version 0", patched(good, synAckAt.version, "00"), "version-unsupported"],
    ["of version 2", patched(good, synAckAt.version, "02"), "version-unsupported"],
    ["of suite 0", patched(good, synAckAt.suite, "00"), "message-malformed"],
    ["with a flag", patched(good, synAckAt.flags, "0100"), "flags-unknown"],
    ["with server port 0", patched(good, synAckAt.serverPort, "0000"), "message-malformed"],
    ["with client port 0", patched(good, synAckAt.clientPort, "0000"), "message-malformed"],
    ["with an empty token", encode({ ...synAck, token: empty }), "message-malformed"],
    ["whose token overruns", patched(good, synAckAt.token, "ffff"), "message-malformed"],
    ["with an empty certificate", encode({ ...synAck, certificates: [empty] }), "message-malformed"],
    [
      "with five certificates",
      encode({ ...synAck, certificates: Array<Buffer>(5).fill(nonce) }),
      "message-malformed",
    ],
    ["with a byte too many", Buffer.concat([good, Buffer.from([0])]), "message-malformed"],
    ["with a critical extension", withExtensions("80010000"), "extension-unknown"],
    ["with extensions out of order", withExtensions("0002000000010000"), "message-malformed"],
    ["with an extension that reaches into the tag", withExtensions("00010001"), "message-malformed"],
  ])("%s", (_name, bytes, reason) => {
    expect(decodeSynAck(bytes)).toBe(reason);
  });

  it("at every byte where it may be cut", () => {
    for (let length = 0; length < good.length; length++) {
      expect([length, decodeSynAck(good.subarray(0, length))]).toEqual([length, "message-malformed"]);
    }
  });

  it("but not for a suite that only its reader can refuse", () => {
    expect(decodeSynAck(patched(good, synAckAt.suite, "03"))).toEqual({ ...synAck, suite: 3 });
  });
});

describe("an encoder throws for its caller's defects", () => {
  it.each<[string, () => number]>([
    ["a buffer one byte too small", () => encodeSyn(syn, Buffer.alloc(encode(syn).length - 1))],
    [
      "a SYN-ACK buffer one byte too small",
      () => encodeSynAck(synAck, Buffer.alloc(encode(synAck).length - 1)),
    ],
    ["a nonce of 15 bytes", () => encodeSyn({ ...syn, nonce: nonce.subarray(1) }, Buffer.alloc(1500))],
    [
      "an address of 4 bytes",
      () => encodeSynAck({ ...synAck, serverAddress: Buffer.alloc(4) }, Buffer.alloc(1500)),
    ],
    ["a tag of 32 bytes", () => encodeSynAck({ ...synAck, tag: Buffer.alloc(32) }, Buffer.alloc(1500))],
    ["a token of 64 KiB", () => encodeSyn({ ...syn, token: Buffer.alloc(65_536) }, Buffer.alloc(70_000))],
    ["a window of 17 bits", () => encodeSyn({ ...syn, window: 65_536 }, Buffer.alloc(1500))],
    [
      "256 certificates",
      () => encodeSyn({ ...syn, certificates: Array<Buffer>(256).fill(nonce) }, Buffer.alloc(9000)),
    ],
  ])("%s", (_name, call) => {
    expect(call).toThrow(RangeError);
  });
});

describe("any message", () => {
  const bytes = (minLength: number, maxLength: number): fc.Arbitrary<Buffer> =>
    fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array));
  const u16 = fc.integer({ min: 0, max: 0xffff });
  const port = fc.integer({ min: 1, max: 0xffff });
  const extensions = fc
    .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 0x7fff }), bytes(0, 20)), {
      maxLength: 4,
      selector: ([type]) => type,
    })
    .map((list) => Buffer.concat(list.sort(([a], [b]) => a - b).map(([type, value]) => tlv(type, value))));
  const common = {
    flags: fc.constant(0),
    window: u16,
    nonce: bytes(16, 16),
    token: bytes(1, 300),
    certificates: fc.array(bytes(1, 100), { maxLength: 4 }),
    extensions,
  };
  const anySyn = fc.record({
    versionMin: fc.constant(1),
    versionMax: fc.integer({ min: 1, max: 255 }),
    suites: fc.integer({ min: 1, max: 0xffff }),
    ...common,
  });
  const anySynAck = fc.record({
    version: fc.constant(1),
    suite: fc.integer({ min: 1, max: 255 }),
    serverAddress: bytes(16, 16),
    serverPort: port,
    clientAddress: bytes(16, 16),
    clientPort: port,
    tag: bytes(16, 16),
    ...common,
  });

  it("comes back as it was", () => {
    fc.assert(
      fc.property(anySyn, (message) => {
        expect(decodeSyn(encode(message))).toEqual(message);
      }),
    );
    fc.assert(
      fc.property(anySynAck, (message) => {
        expect(decodeSynAck(encode(message))).toEqual(message);
      }),
    );
  });

  it("has one encoding: whatever is decoded encodes to the same bytes, and nothing throws", () => {
    const changes = fc.array(fc.tuple(fc.nat(400), fc.integer({ min: 0, max: 255 })), { maxLength: 4 });
    const cut = fc.nat(500);
    fc.assert(
      fc.property(fc.oneof(anySyn, anySynAck), changes, cut, (message, list, length) => {
        const wire = Buffer.from(encode(message).subarray(0, length));
        for (const [at, value] of list) if (at < wire.length) wire[at] = value;
        for (const decoded of [decodeSyn(wire), decodeSynAck(wire)]) {
          if (typeof decoded !== "string") expect(encode(decoded)).toEqual(wire);
        }
      }),
      { numRuns: 5_000 },
    );
  });

  it("is not to be had from random bytes behind the magic, and nothing throws", () => {
    fc.assert(
      fc.property(fc.constantFrom(1, 2), bytes(0, 200), (type, rest) => {
        const wire = Buffer.concat([Buffer.from("d754524952454d45", "hex"), Buffer.from([type, 1, 1]), rest]);
        for (const decoded of [decodeSyn(wire), decodeSynAck(wire)]) {
          if (typeof decoded !== "string") expect(encode(decoded)).toEqual(wire);
        }
      }),
      { numRuns: 5_000 },
    );
  });
});

function tlv(type: number, value: Buffer): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt16BE(type, 0);
  header.writeUInt16BE(value.length, 2);
  return Buffer.concat([header, value]);
}
