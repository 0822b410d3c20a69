/** Owns the tests of resets: whole packets, by the numbers of RFC 9293. */
import { describe, expect, it } from "vitest";
import { Packet } from "../../enforcer/packet/packet.ts";
import { parsePacket } from "../../enforcer/packet/parse.ts";
import { buildReset } from "../../enforcer/packet/reset.ts";
import type { TcpFields } from "./build.ts";
import { both, hex, tcpPacket, udpPacket } from "./build.ts";

const rst = 0x04;
const rstAck = 0x14;
const forward = { sourcePort: 49152, destinationPort: 80 };
const back = { sourcePort: 80, destinationPort: 49152 };

interface Case {
  readonly name: string;
  readonly cause: TcpFields;
  readonly sender: TcpFields;
  readonly receiver: TcpFields;
}

const cases: readonly Case[] = [
  {
    name: "a SYN",
    cause: { flags: 0x02, sequence: 1000 },
    sender: { flags: rstAck, sequence: 0, acknowledgement: 1001 },
    receiver: { flags: rst, sequence: 1001, acknowledgement: 0 },
  },
  {
    name: "a SYN with our payload, whose ISN wraps",
    cause: { flags: 0xc2, sequence: 0xffffffff, payload: "d7545249" },
    sender: { flags: rstAck, sequence: 0, acknowledgement: 0 },
    receiver: { flags: rst, sequence: 0, acknowledgement: 0 },
  },
  {
    name: "a SYN-ACK with our payload",
    cause: { flags: 0x12, sequence: 5000, acknowledgement: 1001, payload: "d7545249" },
    sender: { flags: rst, sequence: 1001, acknowledgement: 0 },
    receiver: { flags: rstAck, sequence: 5000, acknowledgement: 1001 },
  },
  {
    name: "data",
    cause: {
      flags: 0x18,
      sequence: 0xfffffffe,
      acknowledgement: 0xdeadbeef,
      payload: "00112233",
      options: "0101080a0000000100000002",
    },
    sender: { flags: rst, sequence: 0xdeadbeef, acknowledgement: 0 },
    receiver: { flags: rstAck, sequence: 0xfffffffe, acknowledgement: 0xdeadbeef },
  },
  {
    name: "a FIN",
    cause: { flags: 0x11, sequence: 7, acknowledgement: 8 },
    sender: { flags: rst, sequence: 8, acknowledgement: 0 },
    receiver: { flags: rstAck, sequence: 7, acknowledgement: 8 },
  },
];

/** The reset as the independent builder makes it, with the fields of the IP header that a stack's own reset has. */
function expected(version: 4 | 6, fields: TcpFields, reversed: boolean): string {
  const addresses =
    version === 4 ? ["0a010002", "0a010003"] : [`fd000001${"0".repeat(23)}2`, `fd000001${"0".repeat(23)}3`];
  const [source, destination] = (reversed ? addresses.reverse() : addresses) as [string, string];
  const bytes = tcpPacket(version, { ...fields, window: 0 }, { source, destination });
  if (version === 6) bytes.fill(hex("6000000000140640"), 0, 8);
  else {
    bytes.fill(hex("450000280000400040060000"), 0, 12);
    let sum = 0;
    for (let at = 0; at < 20; at += 2) sum += bytes.readUInt16BE(at);
    bytes.writeUInt16BE(0xffff - ((sum % 0x10000) + Math.floor(sum / 0x10000)), 10);
  }
  return bytes.toString("hex");
}

function parse(bytes: Uint8Array): Packet {
  const packet = new Packet();
  expect(parsePacket(bytes, 0, bytes.length, packet)).toBeUndefined();
  return packet;
}

describe.each(both)("resets over IPv$version", ({ version }) => {
  it.each(cases)("answers $name", ({ cause, sender }) => {
    const reset = buildReset(parse(tcpPacket(version, cause)), "sender");
    expect(Buffer.from(reset ?? []).toString("hex")).toBe(expected(version, { ...sender, ...back }, true));
  });

  it.each(cases)("takes the place of $name", ({ cause, receiver }) => {
    const reset = buildReset(parse(tcpPacket(version, cause)), "receiver");
    expect(Buffer.from(reset ?? []).toString("hex")).toBe(
      expected(version, { ...receiver, ...forward }, false),
    );
  });

  it("leaves out IP options and extension headers", () => {
    const ip = version === 4 ? { extra: "94040000" } : { nextHeader: 60, extra: "0600010400000000" };
    const reset = buildReset(parse(tcpPacket(version, { flags: 0x10, acknowledgement: 9 }, ip)), "sender");
    expect(Buffer.from(reset ?? []).toString("hex")).toBe(
      expected(version, { flags: rst, sequence: 9, ...back }, true),
    );
  });

  it("never answers a reset, nor what isn't TCP", () => {
    for (const flags of [rst, rstAck]) {
      const packet = parse(tcpPacket(version, { flags }));
      expect([buildReset(packet, "sender"), buildReset(packet, "receiver")]).toEqual([undefined, undefined]);
    }
    expect(buildReset(parse(udpPacket(version, "00")), "sender")).toBeUndefined();
  });
});
