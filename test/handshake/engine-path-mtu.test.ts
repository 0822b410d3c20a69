/** What ICMP errors teach of a path: which are believed, what then fits, for how long, for how many. Source: PROTOCOL.md, "Sizes"; RFC 1191, 8201. */
import { describe, expect, test } from "vitest";
import { loadFlowKey, emptyFlowKey } from "../../enforcer/handshake/flow-key.ts";
import { PathMtus } from "../../enforcer/handshake/path-mtus.ts";
import { Packet } from "../../enforcer/packet/packet.ts";
import { parsePacket } from "../../enforcer/packet/parse.ts";
import { icmpPacket } from "../packet/build.ts";
import { Dialogue, lastDelivered } from "./dialogue.ts";
import { ACK, buildSegment, PSH, readSegment, RST } from "./segments.ts";

const families = [{ version: 4 }, { version: 6 }] as const;
const passes = { verdict: "accept", mark: "none", packet: undefined };

/** "Fragmentation needed" or "packet too big" about a packet. */
function tooBig(version: 4 | 6, packet: Buffer, mtu: number): Buffer {
  const word = mtu.toString(16).padStart(8, "0");
  return version === 4
    ? icmpPacket(4, 3, 4, word, packet.subarray(0, 28))
    : icmpPacket(6, 2, 0, word, packet.subarray(0, 300));
}

function learn(pod: Dialogue["client"], version: 4 | 6, packet: Buffer, mtu: number): void {
  expect(pod.judge(5, tooBig(version, packet, mtu))).toEqual(passes);
}

/** SYN about 1,100 bytes long in suite 1. */
const bigClient = { mode: "pki", clientLabels: 20 } as const;
const bigServer = { mode: "pki", serverLabels: 20 } as const;
const refused = [{ verdict: "deny", reason: "packet-too-big" }];

describe.each(families)("over IPv$version, an error about a pending SYN", ({ version }) => {
  // Between the size that the SYN has and the least that may be believed.
  const big = { ...bigClient, version, clientLabels: 30 };

  test("refuses the SYN that the stack repeats, and the next, at once and with the reason; none leaves", () => {
    const d = new Dialogue(big);
    const syn = d.wireSyn();
    learn(d.client, version, syn, 1300);
    const sent = d.client.sent.length;
    for (const seq of [d.clientIsn, 77]) {
      d.client.send(d.syn({ seq }));
      expect(lastDelivered(d.client)).toMatchObject({ flags: RST | ACK, ack: (seq + 1) >>> 0 });
    }
    expect(d.client.sent).toHaveLength(sent);
    expect(d.client.records).toMatchObject([...refused, ...refused]);
    expect(d.client.engine.counts().pending).toBe(0);
  });

  test("lowers this destination alone, to what the error says and no further", () => {
    const d = new Dialogue(big);
    const syn = d.wireSyn();
    expect(syn.length).toBeGreaterThan(1300);
    learn(d.client, version, syn, syn.length);
    expect(d.client.judge(3, d.syn())).toMatchObject({ verdict: "accept" });
    learn(d.client, version, syn, syn.length - 1);
    const other = version === 4 ? "10.1.0.21" : "fd00:1::21";
    expect(d.client.judge(3, d.syn({ to: other }))).toMatchObject({ verdict: "accept" });
    expect(d.client.judge(3, d.syn())).toMatchObject({ verdict: "drop", reason: "packet-too-big" });
  });

  test("is forgotten after ten minutes", () => {
    const d = new Dialogue(big);
    learn(d.client, version, d.wireSyn(), 1300);
    d.client.nowMs = 599_999;
    expect(d.client.judge(3, d.syn({ seq: 5 }))).toMatchObject({ verdict: "drop" });
    d.client.nowMs = 600_000;
    expect(d.client.judge(3, d.syn({ seq: 6 }))).toMatchObject({ verdict: "accept" });
  });

  test.each([
    ["of another sequence number", (d: Dialogue) => d.syn({ seq: d.clientIsn + 1 })],
    ["of another port", (d: Dialogue) => d.syn({ fromPort: 40_001 })],
    ["of another destination port", (d: Dialogue) => d.syn({ toPort: 81 })],
    ["to another destination", (d: Dialogue) => d.syn({ to: version === 4 ? "10.1.0.21" : "fd00:1::21" })],
  ])("%s teaches nothing", (_, quoted) => {
    const d = new Dialogue(big);
    d.wireSyn();
    expect(d.client.judge(5, tooBig(version, quoted(d), 1300))).toEqual({
      verdict: "drop",
      reason: "icmp-unrelated",
    });
    expect(d.client.judge(3, d.syn())).toMatchObject({ verdict: "accept" });
  });

  test("teaches nothing without an MTU, once the SYN was answered, or of another kind", () => {
    const d = new Dialogue(big);
    const syn = d.wireSyn();
    learn(d.client, version, syn, 0);
    const unreachable =
      version === 4
        ? icmpPacket(4, 3, 1, "00000514", syn.subarray(0, 28))
        : icmpPacket(6, 1, 3, "00000514", syn);
    expect(d.client.judge(5, unreachable)).toEqual(passes);
    d.client.receive(d.wireSynAck(syn));
    learn(d.client, version, syn, 1300);
    expect(d.client.judge(3, d.syn())).toMatchObject({ verdict: "accept" });
  });

  test("is never believed below the family's least MTU", () => {
    const d = new Dialogue({ version });
    const syn = d.wireSyn();
    learn(d.client, version, syn, 68);
    expect(syn.length).toBeLessThanOrEqual(576);
    expect(d.client.judge(3, d.syn())).toMatchObject({ verdict: "accept" });
    const least = version === 4 ? 576 : 1280;
    const answer = d.wireSynAck(syn);
    d.client.receive(answer);
    const first = readSegment(sendOne(d, d.data("x".repeat(1400))));
    const headers = (version === 4 ? 40 : 60) + 32;
    expect(first.data).toHaveLength(least - headers);
  });
});

function sendOne(d: Dialogue, packet: Buffer): Buffer {
  d.client.send(packet);
  return d.client.sent.at(-1) ?? Buffer.alloc(0);
}

describe.each(families)("over IPv$version, an error about a half-open SYN-ACK", ({ version }) => {
  const big = { ...bigServer, version, serverLabels: 30 };

  test("refuses its repetition, silently and with one record", () => {
    const d = new Dialogue(big);
    const synAck = d.wireSynAck(d.wireSyn());
    expect(synAck.length).toBeGreaterThan(1300);
    learn(d.server, version, synAck, 1300);
    const sent = d.server.sent.length;
    for (let tries = 0; tries < 3; tries++) d.server.send(d.synAck());
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "packet-too-big" });
    expect(d.server.sent).toHaveLength(sent);
    expect(d.server.records).toMatchObject(refused);
  });

  test("of another sequence number, or after the client's tag, teaches nothing", () => {
    const d = new Dialogue(big);
    const synAck = d.wireSynAck(d.wireSyn());
    const other = d.synAck({ seq: d.serverIsn + 1 });
    expect(d.server.judge(5, tooBig(version, other, 1300))).toMatchObject({ reason: "icmp-unrelated" });
    d.server.receive(d.wireAck(synAck));
    learn(d.server, version, synAck, 1300);
    expect(d.server.judge(3, d.synAck())).toMatchObject({ verdict: "accept" });
  });
});

describe("what carries a tag", () => {
  /** After SYN and SYN-ACK, with the tagged ACK sent. */
  function answered(mtu = 1500): Dialogue {
    const d = new Dialogue({ mtu });
    d.wireAck(d.wireSynAck(d.wireSyn()));
    return d;
  }
  const tag = /fd147472[0-9a-f]{32}/;

  test("is no longer than the stack made it, when it is sent again: the stack knows the path better", () => {
    const d = answered();
    // Full at the 1,300 bytes that the stack knows of: 40 of headers, 12 of options.
    const packet = d.data("x".repeat(1248));
    expect(packet).toHaveLength(1300);
    const first = sendOne(d, packet);
    expect(first).toHaveLength(1320);
    const again = sendOne(d, packet);
    expect(again).toHaveLength(1300);
    expect(readSegment(again)).toMatchObject({ flags: ACK, data: Buffer.alloc(1228, "x") });
    expect(readSegment(again).options).toMatch(tag);
  });

  test("is not cut while it is small", () => {
    const d = answered();
    for (let tries = 0; tries < 2; tries++) {
      const sent = readSegment(sendOne(d, d.data("x".repeat(500))));
      expect(sent).toMatchObject({ flags: ACK | PSH, data: Buffer.alloc(500, "x") });
      expect(sent.options).toMatch(tag);
    }
  });

  test("fits the path's MTU where it is known; a segment without room goes untagged the first time", () => {
    const d = new Dialogue();
    const syn = d.wireSyn();
    learn(d.client, 4, syn, 1300);
    d.wireAck(d.wireSynAck(syn));
    const full = d.data("x".repeat(1248));
    expect(sendOne(d, full).equals(full)).toBe(true);
    expect(sendOne(d, full)).toHaveLength(1300);
  });
});

describe("the table of paths", () => {
  const key = (last: number): ReturnType<typeof emptyFlowKey> => {
    const packet = new Packet();
    const bytes = buildSegment({
      from: "10.1.0.1",
      to: `10.1.${last >> 8}.${last & 255}`,
      fromPort: 1,
      toPort: 2,
    });
    expect(parsePacket(bytes, 0, bytes.length, packet)).toBeUndefined();
    return { ...loadFlowKey(emptyFlowKey(), packet, false, 1) };
  };

  test("is bounded: the one learned first leaves", () => {
    const paths = new PathMtus(4, 1000);
    for (let last = 1; last <= 10; last++) paths.learn(key(last), 1000 + last, last);
    expect(paths.size).toBe(4);
    expect([6, 7, 10].map((last) => paths.mtuTo(key(last), 20))).toEqual([Infinity, 1007, 1010]);
  });

  test("believes the least, anew with each error, until its time is over", () => {
    const paths = new PathMtus(4, 1000);
    paths.learn(key(1), 1300, 0);
    paths.learn(key(1), 1400, 600);
    paths.learn(key(2), 1400, 600);
    expect(paths.mtuTo(key(1), 1500)).toBe(1300);
    paths.expire(1599);
    expect(paths.size).toBe(2);
    paths.learn(key(1), 1400, 1600);
    expect(paths.mtuTo(key(1), 1700)).toBe(1400);
    paths.expire(1700);
    expect(paths.size).toBe(1);
  });

  test("knows nothing at first", () => {
    expect(new PathMtus(4, 1000).mtuTo(key(1), 0)).toBe(Infinity);
  });
});
