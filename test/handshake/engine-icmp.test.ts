/** What isn't TCP: address rules, and ICMP errors that quote a handshake in hand. Source: enforcer/handshake/README.md. */
import { describe, expect, test } from "vitest";
import { hex, icmpPacket, ipPacket } from "../packet/build.ts";
import { Dialogue } from "./dialogue.ts";
import { address } from "./fixtures.ts";
import { ACK, readSegment } from "./segments.ts";

const inbound = 5;
const outbound = 6;

const hexOf = (text: string): string => Buffer.from(address(text)).subarray(12).toString("hex");

function datagram(from: string, fromPort: number, to: string, toPort: number): Buffer {
  const body = Buffer.concat([Buffer.alloc(8), Buffer.from("query")]);
  body.writeUInt16BE(fromPort, 0);
  body.writeUInt16BE(toPort, 2);
  body.writeUInt16BE(body.length, 4);
  return ipPacket({ version: 4, protocol: 17, source: hexOf(from), destination: hexOf(to) }, body, 6);
}

/** "Fragmentation needed" about the packet, with as much of it as an old router quotes. */
function tooBig(version: 4 | 6, packet: Buffer): Buffer {
  const quoted = packet.subarray(0, (version === 4 ? 20 : 40) + 8);
  return version === 4
    ? icmpPacket(4, 3, 4, "0000 0514", quoted)
    : icmpPacket(6, 2, 0, "00000514", packet.subarray(0, 300));
}

describe("a datagram", () => {
  test.each([
    { to: "10.1.0.1", toPort: 53, verdict: "accept" },
    { to: "10.1.0.1", toPort: 54, verdict: "drop" },
    { to: "203.0.113.5", toPort: 53, verdict: "drop" },
  ])("out to $to:$toPort is judged by address rules: $verdict", ({ to, toPort, verdict }) => {
    const { client } = new Dialogue();
    const outcome = client.judge(outbound, datagram("10.1.0.10", 999, to, toPort));
    expect(outcome).toMatchObject({
      verdict,
      record: {
        verdict: verdict === "accept" ? "allow" : "deny",
        proof: "address",
        protocol: "udp",
        source: { port: 999, id: client.unit.id },
        destination: { port: toPort, address: address(to) },
      },
    });
    if (verdict === "accept") expect(outcome).toMatchObject({ mark: "authorised", packet: undefined });
  });

  test("that is refused is recorded once a second for each flow, and dropped each time", () => {
    const { client } = new Dialogue();
    const send = (port: number, nowMs: number): boolean => {
      client.nowMs = nowMs;
      const outcome = client.judge(outbound, datagram("10.1.0.10", port, "203.0.113.5", 53));
      expect(outcome).toMatchObject({ verdict: "drop", reason: "no-address-rule" });
      return outcome.record !== undefined;
    };
    expect([send(999, 0), send(999, 1), send(998, 2), send(999, 999)]).toEqual([true, false, true, false]);
    expect([send(999, 1_000), send(999, 1_001), send(998, 1_001)]).toEqual([true, false, false]);
  });

  test("of an unknown protocol is judged like any other", () => {
    const { client } = new Dialogue();
    const gre = ipPacket({ version: 4, protocol: 47 }, hex("00000800 00000000"));
    expect(client.judge(inbound, gre)).toMatchObject({
      verdict: "drop",
      reason: "no-address-rule",
      record: { protocol: "47" },
    });
  });

  test("that is TCP does not belong here", () => {
    const d = new Dialogue();
    expect(d.client.judge(inbound, d.synAck())).toMatchObject({
      verdict: "drop",
      reason: "protocol-unsupported",
    });
    const udp = datagram("10.1.0.1", 53, "10.1.0.10", 999);
    expect(d.client.judge(2, udp)).toMatchObject({ verdict: "drop", reason: "protocol-unsupported" });
  });
});

describe.each([{ version: 4 }, { version: 6 }] as const)("an ICMP error over IPv$version", ({ version }) => {
  const passes = { verdict: "accept", mark: "none", packet: undefined };
  const dropped = { verdict: "drop", reason: "icmp-unrelated" };

  test("about a pending SYN passes with its exact sequence number only", () => {
    const d = new Dialogue({ version });
    const syn = d.wireSyn();
    expect(d.client.judge(inbound, tooBig(version, syn))).toEqual(passes);
    expect(d.client.judge(inbound, tooBig(version, d.syn({ seq: d.clientIsn - 1 })))).toEqual(dropped);
    expect(d.client.judge(inbound, tooBig(version, d.syn({ seq: d.clientIsn + 1 })))).toEqual(dropped);
    expect(d.client.judge(inbound, tooBig(version, d.syn({ fromPort: 40_001 })))).toEqual(dropped);
    expect(d.server.judge(inbound, tooBig(version, syn))).toEqual(dropped);
  });

  test("about a half-open SYN-ACK passes with its exact sequence number only, before and after authorisation", () => {
    const d = new Dialogue({ version });
    const synAck = d.wireSynAck(d.wireSyn());
    const other = d.synAck({ seq: d.serverIsn + 1 });
    expect(d.server.judge(inbound, tooBig(version, synAck))).toEqual(passes);
    expect(d.server.judge(inbound, tooBig(version, other))).toEqual(dropped);
    d.server.receive(d.wireAck(synAck));
    expect(d.server.judge(inbound, tooBig(version, synAck))).toEqual(passes);
    expect(d.server.judge(inbound, tooBig(version, other))).toEqual(dropped);
  });

  test("about the client's first segments passes while the server has not answered", () => {
    const d = new Dialogue({ version });
    const synAck = d.wireSynAck(d.wireSyn());
    d.client.receive(synAck);
    const full = d.ack({ data: Buffer.alloc(1428) });
    const beyond = d.ack({ seq: (d.clientIsn + 1 + 1429) >>> 0, data: Buffer.alloc(10) });
    d.client.send(full);
    expect(d.client.judge(inbound, tooBig(version, full))).toEqual(passes);
    expect(d.client.judge(inbound, tooBig(version, beyond))).toEqual(dropped);
  });

  test("about nothing of ours, or going out, is dropped", () => {
    const d = new Dialogue({ version });
    expect(d.client.judge(inbound, tooBig(version, d.syn()))).toEqual(dropped);
    expect(d.client.judge(outbound, tooBig(version, d.synAck()))).toEqual(dropped);
  });
});

test("whatever a rewritten segment was, its checksums are right", () => {
  const d = new Dialogue({ version: 6, mode: "pki" });
  d.connect();
  for (const packet of [...d.client.sent, ...d.server.sent, ...d.client.delivered, ...d.server.delivered])
    expect(readSegment(packet).flags & ~0x1f).toBe(0);
  expect(d.server.delivered.map((packet) => readSegment(packet).flags)).toContain(ACK);
});
