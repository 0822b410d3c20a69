/** Owns the tests of the parser: every field, every malformed kind, every cut, random input. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addressesEqual,
  writeDestinationAddress,
  writeSourceAddress,
} from "../../enforcer/packet/addresses.ts";
import { verifyChecksums } from "../../enforcer/packet/checksum.ts";
import * as p from "../../enforcer/packet/packet.ts";
import { parsePacket } from "../../enforcer/packet/parse.ts";
import type { Reason } from "../../enforcer/reason.ts";
import { both, hex, icmpPacket, ipPacket, tcpPacket, tcpSegment, udpPacket } from "./build.ts";

function parse(bytes: Uint8Array): { reason: Reason | undefined; packet: p.Packet } {
  const packet = new p.Packet();
  return { reason: parsePacket(bytes, 0, bytes.length, packet), packet };
}

const timestamps = "0101080a00000001000000ff";
const tagOption = `fd147472${"ab".repeat(16)}`;
const tag = {
  options: `${timestamps}${tagOption}`,
  flags: 0x18,
  sequence: 0xfffffff0,
  acknowledgement: 0xdeadbeef,
};

describe.each(both)("TCP over IPv$version", ({ version }) => {
  const header = version === 4 ? 20 : 40;

  it("reads every field", () => {
    const bytes = tcpPacket(version, { ...tag, window: 7, payload: "c0ffee" });
    const { reason, packet } = parse(bytes);
    expect(reason).toBeUndefined();
    expect(Object.assign({}, packet, { buffer: undefined, quoted: undefined })).toEqual({
      buffer: undefined,
      version,
      networkOffset: 0,
      transportOffset: header,
      payloadOffset: header + 52,
      end: header + 55,
      protocol: 6,
      sourceOffset: version === 4 ? 12 : 8,
      destinationOffset: version === 4 ? 16 : 24,
      sourcePort: 49152,
      destinationPort: 80,
      sequence: 0xfffffff0,
      acknowledgement: 0xdeadbeef,
      flags: 0x18,
      window: 7,
      options: p.optionTag,
      tagOffset: header + 36,
      icmpType: 0,
      icmpCode: 0,
      icmpMtu: 0,
      hasQuote: false,
      quoted: undefined,
    });
    expect(p.payloadLength(packet)).toBe(3);
  });

  it("parses inside a larger buffer, and ignores what follows the packet", () => {
    const bytes = tcpPacket(version, tag);
    const larger = Buffer.concat([Buffer.alloc(7, 0xff), bytes, Buffer.alloc(9, 0xff)]);
    const packet = new p.Packet();
    expect(parsePacket(larger, 7, bytes.length + 9, packet)).toBeUndefined();
    expect([packet.networkOffset, packet.end]).toEqual([7, 7 + bytes.length]);
    expect(packet.tagOffset).toBe(7 + header + 36);
    expect(verifyChecksums(packet)).toBeUndefined();
  });

  it("leaves nothing of the packet before", () => {
    const packet = new p.Packet();
    const first = tcpPacket(version, tag);
    parsePacket(first, 0, first.length, packet);
    const second = udpPacket(version, "00");
    expect(parsePacket(second, 0, second.length, packet)).toBeUndefined();
    expect([packet.options, packet.tagOffset, packet.flags, packet.sequence]).toEqual([0, -1, 0, 0]);
  });

  it.each<[string, string, number]>([
    ["none", "", 0],
    ["MSS, SACK-permitted, timestamps, window scale", `020405b40402080a00000001000000000103030a`, 0],
    ["marker", "fd047472", p.optionMarker],
    ["another experiment's option of kind 253", "fd041234", 0],
    ["kind 253 too short for an ExID", "fd02", 0],
    ["Fast Open", "220a0011223344556677", p.optionFastOpen],
    ["Fast Open request", "2202", p.optionFastOpen],
    ["experimental Fast Open", "fe04f989", p.optionFastOpen],
    ["another experiment's option of kind 254", "fe04f988", 0],
    ["Multipath", "1e0c0081aabbccddeeff0011", p.optionMultipath],
    ["MD5", `1312${"00".repeat(16)}`, p.optionSigned],
    ["AO", `1d10${"00".repeat(14)}`, p.optionSigned],
    ["SACK blocks", "050a0000000100000002", p.optionSack],
    ["accurate ECN", "ac0b00000100000100000101ae02", p.optionAccurateEcn],
    ["nothing after the end of the list", "00fd0474", 0],
    ["a malformed option after the end of the list", "0022ffff", 0],
  ])("options: %s", (_name, options, bits) => {
    const { reason, packet } = parse(tcpPacket(version, { options }));
    expect([reason, packet.options]).toEqual([undefined, bits]);
  });

  it.each<[string, string]>([
    ["length 0", "0200ffff"],
    ["length 1", "02010000"],
    ["length beyond the header", "02050000"],
    ["kind without length", "01010102"],
    ["our ExID with a length that isn't ours", "fd05747200000000"],
    ["the marker twice", "fd047472fd047472"],
    ["the tag twice", `${tagOption}${tagOption}`],
  ])("refuses options: %s", (_name, options) => {
    expect(parse(tcpPacket(version, { options })).reason).toBe("packet-options");
  });

  it("takes exactly the flag combinations that stacks send, whatever PSH and ECN say", () => {
    const sane = new Set([0x02, 0x12, 0x10, 0x30, 0x11, 0x31, 0x04, 0x14]);
    for (let flags = 0; flags < 256; flags++) {
      const expected = sane.has(flags & 0x37) ? undefined : "packet-flags";
      expect([flags, parse(tcpPacket(version, { flags })).reason]).toEqual([flags, expected]);
    }
  });

  it.each<[string, Buffer, Reason]>([
    ["data offset 4", tcpPacket(version, { dataOffset: 4 }), "packet-malformed"],
    ["data offset 0", tcpPacket(version, { dataOffset: 0 }), "packet-malformed"],
    ["data offset beyond the segment", tcpPacket(version, { dataOffset: 6 }), "packet-truncated"],
    ["data offset 15 in a bare header", tcpPacket(version, { dataOffset: 15 }), "packet-truncated"],
    ["19 bytes", ipPacket({ version, protocol: 6 }, tcpSegment({}).subarray(0, 19)), "packet-truncated"],
    ["no bytes", ipPacket({ version, protocol: 6 }, Buffer.alloc(0)), "packet-truncated"],
    ["source port 0", tcpPacket(version, { sourcePort: 0 }), "packet-address"],
    ["destination port 0", tcpPacket(version, { destinationPort: 0 }), "packet-address"],
  ])("refuses %s", (_name, bytes, reason) => {
    expect(parse(bytes).reason).toBe(reason);
  });

  it("refuses every strict prefix", () => {
    const bytes = tcpPacket(version, { ...tag, payload: "c0ffee" });
    for (let length = 0; length < bytes.length; length++) {
      expect([length, parse(bytes.subarray(0, length)).reason]).toEqual([length, "packet-truncated"]);
    }
  });

  it("refuses every cut of the TCP header under a right IP length", () => {
    const segment = tcpSegment(tag);
    for (let length = 0; length < segment.length; length++) {
      const { reason } = parse(ipPacket({ version, protocol: 6 }, segment.subarray(0, length)));
      expect([length, reason]).toEqual([length, "packet-truncated"]);
    }
  });
});

describe("IPv4", () => {
  const syn = tcpPacket(4, {});
  const altered = (at: number, value: number): Buffer => {
    const copy = Buffer.from(syn);
    copy[at] = value;
    return copy;
  };

  it.each<[string, Buffer, Reason]>([
    ["version 5", altered(0, 0x55), "packet-malformed"],
    ["version 0", altered(0, 0x05), "packet-malformed"],
    ["header length 16", altered(0, 0x44), "packet-malformed"],
    ["header beyond the total length", altered(0, 0x4f), "packet-malformed"],
    ["total length below the header", altered(3, 19), "packet-malformed"],
    ["total length beyond the bytes", altered(3, 41), "packet-truncated"],
    ["more fragments", altered(6, 0x20), "packet-fragment"],
    ["a fragment's offset", altered(7, 1), "packet-fragment"],
    ["ICMPv6", ipPacket({ version: 4, protocol: 58 }, Buffer.alloc(8)), "protocol-unsupported"],
    ["a loose source route", tcpPacket(4, {}, { extra: "8307040a010101" }), "packet-address"],
    ["a strict source route", tcpPacket(4, {}, { extra: "8907040a010101" }), "packet-address"],
    ["an option of length 0", tcpPacket(4, {}, { extra: "94000000" }), "packet-options"],
    ["an option of length 1", tcpPacket(4, {}, { extra: "94010000" }), "packet-options"],
    ["an option beyond the header", tcpPacket(4, {}, { extra: "94050000" }), "packet-options"],
    ["an option without length", tcpPacket(4, {}, { extra: "01010194" }), "packet-options"],
  ])("refuses %s", (_name, bytes, reason) => {
    expect(parse(bytes).reason).toBe(reason);
  });

  it.each(["94040000", "01010101", "00ffffff", "0194040000000000"])("walks options %s", (extra) => {
    const { reason, packet } = parse(tcpPacket(4, {}, { extra }));
    expect([reason, packet.transportOffset]).toEqual([undefined, 20 + extra.length / 2]);
    expect(verifyChecksums(packet)).toBeUndefined();
  });
});

describe("IPv6", () => {
  const withChain = (nextHeader: number, extra: string): Buffer =>
    tcpPacket(6, { payload: "0102" }, { nextHeader, extra });
  const destinationOptions = (next: string): string => `${next}00010400000000`;

  it.each<[string, Buffer]>([
    ["hop-by-hop", withChain(0, "0600010400000000")],
    ["destination options", withChain(60, destinationOptions("06"))],
    ["routing with no segment left", withChain(43, `0602040000000000${"00".repeat(16)}`)],
    ["hop-by-hop, then destination options", withChain(0, `3c00010400000000${destinationOptions("06")}`)],
    [
      "eight destination options",
      withChain(60, `${destinationOptions("3c").repeat(7)}${destinationOptions("06")}`),
    ],
  ])("walks %s", (_name, bytes) => {
    const { reason, packet } = parse(bytes);
    expect([reason, packet.protocol, packet.transportOffset]).toEqual([undefined, 6, bytes.length - 22]);
    expect(verifyChecksums(packet)).toBeUndefined();
  });

  it.each<[string, Buffer, Reason]>([
    ["a fragment", withChain(44, "0600000100000001"), "packet-fragment"],
    ["an atomic fragment", withChain(44, "0600000000000001"), "packet-fragment"],
    [
      "a fragment behind an extension",
      withChain(60, `${destinationOptions("2c")}0600000100000001`),
      "packet-fragment",
    ],
    [
      "hop-by-hop that isn't first",
      withChain(60, `${destinationOptions("00")}0600010400000000`),
      "packet-extension",
    ],
    [
      "nine extensions",
      withChain(60, `${destinationOptions("3c").repeat(8)}${destinationOptions("06")}`),
      "packet-extension",
    ],
    ["an endless chain", withChain(60, destinationOptions("3c").repeat(100)), "packet-extension"],
    ["an Authentication Header", withChain(51, "0604000000000000"), "packet-extension"],
    ["mobility", withChain(135, "0600000000000000"), "packet-extension"],
    ["HIP", withChain(139, "0600000000000000"), "packet-extension"],
    ["Shim6", withChain(140, "0600000000000000"), "packet-extension"],
    ["routing with segments left", withChain(43, `0602000100000000${"00".repeat(16)}`), "packet-address"],
    ["an extension beyond the packet", withChain(60, "06ff010400000000"), "packet-truncated"],
    [
      "a packet that ends in an extension",
      ipPacket({ version: 6, protocol: 60 }, hex("06000104")),
      "packet-truncated",
    ],
    ["ICMP of IPv4", ipPacket({ version: 6, protocol: 1 }, Buffer.alloc(8)), "protocol-unsupported"],
    ["a jumbogram", ipPacket({ version: 6, protocol: 6 }, Buffer.alloc(0)), "packet-truncated"],
    ["a mapped source", tcpPacket(6, {}, { source: "00000000000000000000ffff0a010002" }), "packet-address"],
    [
      "a mapped destination",
      tcpPacket(6, {}, { destination: "00000000000000000000ffff0a010002" }),
      "packet-address",
    ],
  ])("refuses %s", (_name, bytes, reason) => {
    expect(parse(bytes).reason).toBe(reason);
  });
});

it.each(["0000000100000000", "0000000000000001"])(
  "an IPv6 address that only ends like a mapped one passes: %s",
  (start) => {
    const source = `${start}0000ffff0a010002`;
    expect(parse(tcpPacket(6, {}, { source })).reason).toBeUndefined();
  },
);

describe.each(both)("UDP and others over IPv$version", ({ version }) => {
  it("reads ports and payload", () => {
    const { reason, packet } = parse(udpPacket(version, "c0ffee"));
    expect([reason, packet.sourcePort, packet.destinationPort, p.payloadLength(packet)]).toEqual([
      undefined,
      5353,
      53,
      3,
    ]);
  });

  it.each<[string, Buffer, Reason]>([
    ["7 bytes", ipPacket({ version, protocol: 17 }, Buffer.alloc(7)), "packet-truncated"],
    ["length 7", udpPacket(version, "", 7), "packet-malformed"],
    ["length 0", udpPacket(version, "", 0), "packet-malformed"],
    ["length beyond the packet", udpPacket(version, "", 9), "packet-truncated"],
  ])("refuses %s", (_name, bytes, reason) => {
    expect(parse(bytes).reason).toBe(reason);
  });

  it("hands over protocols without ports by number alone", () => {
    const { reason, packet } = parse(ipPacket({ version, protocol: 132 }, Buffer.alloc(12)));
    expect([reason, packet.protocol, packet.sourcePort, packet.destinationPort]).toEqual([
      undefined,
      132,
      0,
      0,
    ]);
  });
});

describe.each(both)("ICMP errors over IPv$version", ({ version }) => {
  const header = version === 4 ? 20 : 40;
  const sent = tcpPacket(version, { sourcePort: 4000, destinationPort: 5000, sequence: 0xcafebabe });
  const quote = sent.subarray(0, header + 8);
  const tooBig: readonly [number, number] = version === 4 ? [3, 4] : [2, 0];

  it("reads type, code, MTU and the quoted packet", () => {
    const { reason, packet } = parse(icmpPacket(version, ...tooBig, "00000514", quote));
    expect([reason, packet.icmpType, packet.icmpCode, packet.icmpMtu, packet.hasQuote]).toEqual([
      undefined,
      ...tooBig,
      1300,
      true,
    ]);
    const at = header + 8;
    expect(Object.assign({}, packet.quoted)).toEqual({
      version,
      protocol: 6,
      transportOffset: at + header,
      sourceOffset: at + (version === 4 ? 12 : 8),
      destinationOffset: at + (version === 4 ? 16 : 24),
      sourcePort: 4000,
      destinationPort: 5000,
      sequence: 0xcafebabe,
    });
  });

  it("takes an echo request and other information for no error", () => {
    for (const type of version === 4 ? [0, 8, 13] : [128, 129, 135]) {
      const { reason, packet } = parse(icmpPacket(version, type, 0, "00010001", Buffer.alloc(0)));
      expect([reason, packet.icmpType, packet.hasQuote]).toEqual([undefined, type, false]);
    }
  });

  it("reads a quoted UDP packet, and one without ports", () => {
    const udp = parse(icmpPacket(version, version === 4 ? 3 : 1, 3, "00000000", udpPacket(version, "00")));
    expect([udp.reason, udp.packet.quoted.destinationPort, udp.packet.quoted.sequence]).toEqual([
      undefined,
      53,
      0,
    ]);
    const other = ipPacket({ version, protocol: 132 }, Buffer.alloc(4));
    const { reason, packet } = parse(icmpPacket(version, version === 4 ? 3 : 1, 3, "00000000", other));
    expect([reason, packet.quoted.protocol, packet.quoted.sourcePort]).toEqual([undefined, 132, 0]);
  });

  it("refuses every cut of the quote", () => {
    for (let length = 0; length < quote.length; length++) {
      const { reason } = parse(icmpPacket(version, ...tooBig, "00000514", quote.subarray(0, length)));
      expect([length, reason]).toEqual([length, "packet-truncated"]);
    }
  });

  it("refuses a quote of another version, and one of a later fragment", () => {
    const other = tcpPacket(version === 4 ? 6 : 4, {}, {});
    const longEnough = Buffer.concat([other, Buffer.alloc(40)]);
    expect(parse(icmpPacket(version, ...tooBig, "00000514", longEnough)).reason).toBe("packet-malformed");
    const fragment =
      version === 4
        ? Buffer.from(quote).fill(1, 7, 8)
        : tcpPacket(6, {}, { nextHeader: 44, extra: "0600000900000001" });
    expect(parse(icmpPacket(version, ...tooBig, "00000514", fragment)).reason).toBe("packet-fragment");
  });

  it("refuses a message shorter than its header", () => {
    const protocol = version === 4 ? 1 : 58;
    const error = Buffer.from([version === 4 ? 3 : 1, 0, 0, 0, 0, 0, 0]);
    expect(parse(ipPacket({ version, protocol }, error)).reason).toBe("packet-truncated");
    expect(parse(ipPacket({ version, protocol }, Buffer.from([200, 0, 0]))).reason).toBe("packet-truncated");
  });
});

describe("addresses", () => {
  it("are 16 bytes, IPv4 mapped, at the place that the caller says", () => {
    const into = Buffer.alloc(34, 0xee);
    const v4 = parse(tcpPacket(4, {})).packet;
    writeSourceAddress(v4, into, 1);
    writeDestinationAddress(v4, into, 17);
    expect(into.toString("hex")).toBe("ee00000000000000000000ffff0a01000200000000000000000000ffff0a010003ee");
    const v6 = parse(tcpPacket(6, {})).packet;
    writeSourceAddress(v6, into);
    expect(into.subarray(0, 17).toString("hex")).toBe("fd00000100000000000000000000000202");
  });

  it("compare whole", () => {
    const address = Buffer.from("00112233445566778899aabbccddeeff", "hex");
    expect(addressesEqual(address, Buffer.from(address))).toBe(true);
    for (let i = 0; i < 16; i++) {
      const other = Buffer.from(address);
      other[i] = (other[i] ?? 0) ^ 1;
      expect(addressesEqual(address, other)).toBe(false);
    }
  });
});

describe("random input", () => {
  const packet = new p.Packet();

  it("never throws, and what is taken lies within its bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(4, 6), (bytes, version) => {
        if (bytes.length > 0) bytes[0] = (version << 4) | ((bytes[0] ?? 0) & 15);
        const reason = parsePacket(bytes, 0, bytes.length, packet);
        return reason !== undefined || isInside(packet, bytes.length);
      }),
      { numRuns: 20_000 },
    );
  });

  it("never throws for a good packet with some bytes changed", () => {
    const good = both.flatMap(({ version }) => [
      tcpPacket(version, { ...tag, payload: "00".repeat(30) }),
      udpPacket(version, "00"),
      icmpPacket(version, version === 4 ? 3 : 2, 4, "00000514", tcpPacket(version, {})),
    ]);
    const change = fc.array(fc.tuple(fc.nat(120), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(fc.constantFrom(...good), change, (bytes, changes) => {
        const copy = Buffer.from(bytes);
        for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
        const reason = parsePacket(copy, 0, copy.length, packet);
        if (reason !== undefined) return true;
        expect([undefined, "packet-checksum"]).toContain(verifyChecksums(packet));
        return isInside(packet, copy.length);
      }),
      { numRuns: 20_000 },
    );
  });
});

function isInside(packet: p.Packet, length: number): boolean {
  const { networkOffset, transportOffset, payloadOffset, end, tagOffset } = packet;
  const ordered = networkOffset < transportOffset && transportOffset <= payloadOffset && payloadOffset <= end;
  return ordered && end <= length && (tagOffset < 0 || tagOffset + 16 <= payloadOffset);
}
