/** Owns the tests of checksum verification, against an independent sum. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addWords, finishSum, verifyChecksums } from "../../enforcer/packet/checksum.ts";
import { Packet } from "../../enforcer/packet/packet.ts";
import { parsePacket } from "../../enforcer/packet/parse.ts";
import { both, icmpPacket, ipPacket, referenceChecksum, tcpPacket, udpPacket } from "./build.ts";

function verify(bytes: Uint8Array): ReturnType<typeof verifyChecksums> {
  const packet = new Packet();
  expect(parsePacket(bytes, 0, bytes.length, packet)).toBeUndefined();
  return verifyChecksums(packet);
}

describe("the Internet checksum", () => {
  it("is that of RFC 1071's example", () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(finishSum(addWords(bytes, 0, 8, 0))).toBe(0xffff - 0xddf2);
  });

  it("is the independent one's, for any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(finishSum(addWords(bytes, 0, bytes.length, 0))).toBe(referenceChecksum(bytes));
      }),
      { numRuns: 2_000 },
    );
  });

  it("does not overflow at 64 KiB of ones", () => {
    const bytes = Buffer.alloc(65_535, 0xff);
    expect(finishSum(addWords(bytes, 0, bytes.length, 0x4_0000))).toBe(
      referenceChecksum(bytes, Buffer.from([0, 0, 4]), Buffer.alloc(2)),
    );
  });
});

describe.each(both)("verification over IPv$version", ({ version }) => {
  const packets: readonly [string, Buffer, number][] = [
    ["TCP", tcpPacket(version, { options: "020405b4", payload: "c0ffee" }), 27],
    ["UDP", udpPacket(version, "c0ffee"), 11],
    ["ICMP", icmpPacket(version, version === 4 ? 8 : 128, 0, "00010001", Buffer.from("odd")), 11],
  ];

  it.each(packets)(
    "takes %s and finds any changed bit of addresses, checksum and payload",
    (_name, bytes, length) => {
      expect(verify(bytes)).toBeUndefined();
      const transport = bytes.length - length;
      const checksum = length === 27 ? 16 : bytes[version === 4 ? 9 : 6] === 17 ? 6 : 2;
      const payload = length === 27 ? 24 : 8;
      const source = version === 4 ? 12 : 8;
      const covered = [source + 1, source + 3, transport + checksum, transport + payload, bytes.length - 1];
      for (const at of covered) {
        const wrong = Buffer.from(bytes);
        wrong[at] = (wrong[at] ?? 0) ^ 0x10;
        expect([at, verify(wrong)]).toEqual([at, "packet-checksum"]);
      }
    },
  );

  it("checks nothing of other protocols", () => {
    expect(verify(ipPacket({ version, protocol: 132 }, Buffer.from("anything")))).toBeUndefined();
  });

  it("takes a UDP checksum of 0 for none, in IPv4 only", () => {
    const bytes = udpPacket(version, "c0ffee");
    bytes.writeUInt16BE(0, bytes.length - 5);
    expect(verify(bytes)).toBe(version === 4 ? undefined : "packet-checksum");
  });

  it("counts UDP's own length", () => {
    const body = Buffer.concat([
      udpPacket(version, "c0ffee").subarray(version === 4 ? 20 : 40),
      Buffer.from("rest"),
    ]);
    expect(verify(ipPacket({ version, protocol: 17 }, body))).toBeUndefined();
  });
});

it("finds a wrong IPv4 header", () => {
  const bytes = tcpPacket(4, {});
  bytes[8] = 1;
  expect(verify(bytes)).toBe("packet-checksum");
});
