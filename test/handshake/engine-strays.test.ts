/** The engine's rules on resets, strays and odd openings, one at a time. Source: enforcer/handshake/README.md. */
import { describe, expect, test } from "vitest";
import { Dialogue, lastDelivered, takeOne } from "./dialogue.ts";
import { ACK, readSegment, RST, SYN, synOptions } from "./segments.ts";

describe("resets", () => {
  const rst = RST | ACK;

  test.each([
    { name: "with ACK = ISN + 1", fields: { flags: rst, ack: 0xffff_fff1 }, passes: true },
    { name: "with another ACK", fields: { flags: rst, ack: 0xffff_fff0 }, passes: false },
    { name: "without ACK", fields: { flags: RST, ack: 0xffff_fff1 }, passes: false },
    { name: "with data", fields: { flags: rst, ack: 0xffff_fff1, data: Buffer.from("x") }, passes: false },
  ])("of a pending SYN pass only with ACK = ISN + 1: $name", ({ fields, passes }) => {
    const d = new Dialogue();
    d.wireSyn();
    d.client.receive(d.serverSegment({ seq: 0, options: "", ...fields }));
    expect(d.client.delivered).toHaveLength(passes ? 1 : 0);
    expect(d.client.engine.counts().pending).toBe(1);
  });

  test("of a half-open connection pass without data, and our state stays", () => {
    const d = new Dialogue();
    const ack = d.wireAck(d.wireSynAck(d.wireSyn()));
    d.server.receive(d.ack({ flags: RST }));
    expect(lastDelivered(d.server)?.flags).toBe(RST);
    d.server.receive(d.ack({ flags: RST, data: Buffer.from("x") }));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "reset-invalid" });
    d.server.receive(ack);
    expect(d.server.lastCrossing).toMatchObject({ verdict: "accept", mark: "authorised" });
  });

  test("of an authorised connection that lost its mark pass without data", () => {
    const d = new Dialogue();
    d.connect();
    d.server.marked.clear();
    d.server.receive(d.ack({ flags: RST }));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "accept", mark: "none" });
    d.server.receive(d.ack({ flags: RST, data: Buffer.from("x") }));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "reset-invalid" });
  });

  test("of nothing are dropped, and none answers them", () => {
    const d = new Dialogue();
    d.server.receive(d.ack({ flags: RST }));
    d.server.send(d.serverSegment({ flags: RST }));
    expect(d.server.crossings.map(({ reason }) => reason)).toEqual(["reset-invalid", "reset-invalid"]);
    expect([...d.server.sent, ...d.server.delivered]).toEqual([]);
  });

  test("of a closed port pass from the server's stack to the client's, and end the candidate", () => {
    const d = new Dialogue();
    d.server.receive(d.wireSyn());
    const sent = takeOne(d.server, () => d.server.send(d.serverSegment({ seq: 0, flags: rst, options: "" })));
    expect(d.server.engine.counts().halfOpen).toBe(0);
    d.client.receive(sent);
    expect(lastDelivered(d.client)?.flags).toBe(rst);
  });
});

describe("a segment that belongs to nothing", () => {
  test("inbound: becomes a reset for our stack, and its sender gets one", () => {
    const d = new Dialogue();
    d.server.receive(d.data("GET"));
    expect(lastDelivered(d.server)).toMatchObject({
      flags: RST | ACK,
      data: Buffer.alloc(0),
      from: "10.1.0.10",
    });
    expect(readSegment(d.server.sent[0] ?? Buffer.alloc(0))).toMatchObject({
      flags: RST,
      to: "10.1.0.10",
      seq: 0x1000_0001,
    });
    expect(d.server.judge(2, d.data("GET"))).toMatchObject({ verdict: "accept", reason: "no-connection" });
  });

  test("outbound: both ends are reset", () => {
    const d = new Dialogue();
    d.client.send(d.data("GET"));
    expect(lastDelivered(d.client)).toMatchObject({ flags: RST, from: "10.1.0.20", to: "10.1.0.10" });
    expect(d.client.sent.map(readSegment)).toMatchObject([
      { flags: RST | ACK, to: "10.1.0.20", data: Buffer.alloc(0) },
    ]);
  });

  test("at most so many a second", () => {
    const d = new Dialogue({ limits: { resetsPerSecond: 5 } });
    for (let port = 1; port <= 20; port++) d.server.receive(d.data("GET", { fromPort: port }));
    expect(d.server.sent).toHaveLength(5);
    expect(d.server.delivered).toHaveLength(5);
    d.server.nowMs += 400;
    for (let port = 1; port <= 20; port++) d.server.receive(d.data("GET", { fromPort: port }));
    expect(d.server.sent).toHaveLength(7);
  });

  test("of a pending SYN: a bare ACK reaches the stack, whose reset clears the way; nothing else does", () => {
    const d = new Dialogue();
    d.wireSyn();
    d.client.receive(d.serverSegment({ ack: 5 }));
    expect(lastDelivered(d.client)).toMatchObject({ flags: ACK });
    d.client.send(d.clientSegment({ seq: 5, flags: RST }));
    expect(d.client.lastCrossing).toMatchObject({ queue: 4, verdict: "accept", mark: "none" });
    d.client.receive(d.serverSegment({ ack: 5, data: Buffer.from("x") }));
    expect(d.client.delivered).toHaveLength(1);
  });

  test("after the server's enforcer restarted in mid-handshake: reset at once", () => {
    const d = new Dialogue();
    const ack = d.wireAck(d.wireSynAck(d.wireSyn()));
    d.server.restart();
    d.server.receive(ack);
    expect(lastDelivered(d.server)).toMatchObject({ flags: RST | ACK });
    d.client.receive(d.server.sent.at(-1) ?? ack);
    expect(lastDelivered(d.client)).toMatchObject({ flags: RST });
  });

  test("after the client's enforcer restarted in mid-handshake: reset at once", () => {
    const d = new Dialogue();
    const synAck = d.wireSynAck(d.wireSyn());
    d.wireAck(synAck);
    d.client.restart();
    d.client.receive(synAck);
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "ack-unexpected" });
    d.client.send(d.data("GET"));
    expect(lastDelivered(d.client)).toMatchObject({ flags: RST });
  });
});

describe("unusual openings", () => {
  test("simultaneous open is refused", () => {
    const d = new Dialogue();
    d.wireSyn();
    d.client.receive(d.serverSegment({ flags: SYN, options: synOptions }));
    expect(d.client.lastCrossing).toMatchObject({ queue: 0, verdict: "drop", reason: "simultaneous-open" });
    d.client.send(d.clientSegment({ seq: d.clientIsn, flags: SYN | ACK, ack: 1 }));
    expect(d.client.lastCrossing).toMatchObject({ queue: 3, verdict: "drop", reason: "no-connection" });
  });

  test("a 4-tuple that is used again needs a new handshake", () => {
    const d = new Dialogue();
    d.connect();
    const wireSyn = takeOne(d.client, () => d.client.send(d.syn({ seq: 77 })));
    d.server.receive(wireSyn);
    const synAck = takeOne(d.server, () => d.server.send(d.synAck({ ack: 78, seq: 500 })));
    expect(synAck.length).toBeGreaterThan(100);
    d.server.receive(d.data("old", { seq: 78, ack: 501 }));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-missing" });
    d.client.send(d.data("old", { seq: 78, ack: 501 }));
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "no-connection" });
  });

  test("a SYN-ACK of our stack that belongs to no SYN we let in ends the memory; a repeated one doesn't", () => {
    const d = new Dialogue({ limits: { answered: 0 } });
    d.connect();
    d.server.send(d.synAck());
    d.server.receive(d.data("GET"));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "accept", mark: "authorised" });
    d.server.send(d.synAck({ seq: 5 }));
    d.server.receive(d.data("GET"));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "accept", mark: "none" });
    expect(lastDelivered(d.server)?.flags).toBe(RST | ACK);
  });

  test("an inbound SYN does not end the memory of a live connection", () => {
    const d = new Dialogue();
    d.connect();
    d.server.marked.clear();
    d.server.receive(takeOne(d.client, () => d.client.send(d.syn())));
    d.server.receive(d.data("GET"));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "accept", mark: "authorised" });
  });

  test.each([
    { name: "a bad checksum", reason: "packet-checksum", change: (packet: Buffer) => flipLastBit(packet) },
    {
      name: "its end missing",
      reason: "packet-truncated",
      change: (packet: Buffer) => packet.subarray(0, 30),
    },
  ])("a SYN or SYN-ACK with $name is dropped", ({ change, reason }) => {
    const d = new Dialogue();
    const syn = d.wireSyn();
    expect(d.server.judge(0, change(syn))).toEqual({ verdict: "drop", reason });
    expect(d.client.judge(1, change(d.wireSynAck(syn)))).toEqual({ verdict: "drop", reason });
  });
});

function flipLastBit(packet: Buffer): Buffer {
  const copy = Buffer.from(packet);
  copy[copy.length - 1] = (copy.at(-1) ?? 0) ^ 1;
  return copy;
}
