/** The engine's rules, one at a time: which segment passes, what leaves, what is recorded. Source: enforcer/handshake/README.md. */
import { describe, expect, test } from "vitest";
import { Dialogue, lastDelivered, takeOne } from "./dialogue.ts";
import { ACK, alter, buildSegment, readSegment, RST, SYN, synOptions } from "./segments.ts";

const modes = [
  { mode: "psk", version: 4 },
  { mode: "psk", version: 6 },
  { mode: "pki", version: 4 },
  { mode: "pki", version: 6 },
] as const;

const tagOption = /fd147472[0-9a-f]{32}/;
const markerOption = /fd047472/;

describe("a handshake", () => {
  test.each(modes)("$mode over IPv$version authorises both ends and delivers clean segments", (options) => {
    const d = new Dialogue(options);
    const wireSyn = d.wireSyn();
    expect(readSegment(wireSyn).options).toMatch(markerOption);
    expect(readSegment(wireSyn).data.subarray(0, 8).toString("hex")).toBe("d754524952454d45");
    const wireSynAck = d.wireSynAck(wireSyn);
    expect(lastDelivered(d.server)).toEqual(readSegment(d.syn()));
    const wireAck = d.wireAck(wireSynAck);
    expect(lastDelivered(d.client)).toEqual(readSegment(d.synAck()));
    expect(readSegment(wireAck).options).toMatch(tagOption);
    d.server.receive(wireAck);
    expect(lastDelivered(d.server)).toEqual(readSegment(d.ack()));
    expect(d.server.lastCrossing).toMatchObject({ queue: 2, verdict: "accept", mark: "authorised" });
    d.server.send(d.serverSegment({ data: Buffer.from("hi") }));
    d.client.receive(d.server.sent.at(-1) ?? Buffer.alloc(0));
    expect(d.client.lastCrossing).toMatchObject({ queue: 2, verdict: "accept", mark: "authorised" });
    expect(d.client.engine.counts()).toMatchObject({ pending: 0, recent: 1 });
    expect(d.server.engine.counts()).toMatchObject({ halfOpen: 0, recent: 1 });
  });

  test("each end records its decision once, by identity and rule", () => {
    const d = new Dialogue();
    d.connect();
    const source = { id: d.client.unit.id, attributes: d.client.unit.attributes, port: 40_000 };
    const destination = { id: d.server.unit.id, attributes: d.server.unit.attributes, port: 80 };
    const common = { verdict: "allow", reason: "rule-allow", proof: "token", protocol: "tcp" };
    expect(d.client.records).toMatchObject([{ ...common, rule: "web/to-app", source, destination }]);
    expect(d.server.records).toMatchObject([{ ...common, rule: "app/from-web", source, destination }]);
  });

  test("marked segments no longer cross a queue, and unmarked ones of the same flow are recognised", () => {
    const d = new Dialogue();
    d.connect();
    const crossings = d.client.crossings.length;
    d.client.send(d.data("GET"));
    expect(d.client.crossings).toHaveLength(crossings);
    d.client.marked.clear();
    d.client.send(d.data("GET"));
    expect(d.client.lastCrossing).toEqual({
      queue: 4,
      verdict: "accept",
      reason: undefined,
      mark: "authorised",
    });
  });

  test("the true window travels in the message and is restored", () => {
    const d = new Dialogue();
    d.client.send(d.syn({ window: 536 }));
    const raised = alter(d.client.sent[0] ?? Buffer.alloc(0), () => ({ window: 4096 }));
    d.server.receive(raised);
    expect(lastDelivered(d.server)?.window).toBe(536);
  });
});

describe("our own SYN", () => {
  test("is byte-identical when sent again, also after the token was renewed; another ISN is another connection", () => {
    const d = new Dialogue({ mode: "pki" });
    const first = readSegment(d.wireSyn()).data;
    d.client.unit.renew(d.client.wallMs + 1000);
    expect(readSegment(d.wireSyn()).data.equals(first)).toBe(true);
    const other = takeOne(d.client, () => d.client.send(d.syn({ seq: 7 })));
    expect(readSegment(other).data.equals(first)).toBe(false);
    expect(d.client.engine.counts().pending).toBe(1);
  });

  test("loses TFO and MPTCP options and its own data", () => {
    const d = new Dialogue();
    const options = "22 0a 0102030405060708 1e04 0001";
    const sent = readSegment(
      takeOne(d.client, () => d.client.send(d.syn({ options, data: Buffer.from("early") }))),
    );
    expect(sent.options).toBe("fd047472");
    expect(sent.data.includes("early")).toBe(false);
  });

  test("is refused at once, and nothing leaves, if no egress rule can match anybody", () => {
    const d = new Dialogue();
    d.server.send(buildSegment({ from: "10.1.0.20", fromPort: 5000, to: "10.1.0.10", toPort: 80, seq: 99 }));
    expect(d.server.sent).toEqual([]);
    expect(lastDelivered(d.server)).toMatchObject({
      from: "10.1.0.10",
      fromPort: 80,
      flags: RST | ACK,
      ack: 100,
    });
    expect(d.server.records).toMatchObject([{ verdict: "deny", reason: "no-egress", proof: "none" }]);
  });

  test("is refused with its reason if it cannot fit the MTU", () => {
    const d = new Dialogue({ mode: "pki", mtu: 300 });
    d.client.send(d.syn());
    expect(d.client.sent).toEqual([]);
    expect(lastDelivered(d.client)).toMatchObject({ flags: RST | ACK });
    expect(d.client.records).toMatchObject([{ verdict: "deny", reason: "packet-too-big" }]);
  });

  test("waits while there is no token", () => {
    const d = new Dialogue();
    d.client.unit.current = undefined;
    d.client.send(d.syn());
    expect(d.client.sent).toEqual([]);
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "token-unavailable" });
  });

  test.each([
    { to: "203.0.113.5", toPort: 443, leaves: true },
    { to: "203.0.113.5", toPort: 80, leaves: false },
    { to: "198.51.100.1", toPort: 443, leaves: false },
    { to: "10.96.0.1", toPort: 443, leaves: true },
    { to: "64:ff9b::203.0.113.5", toPort: 443, leaves: true, from: "fd00:1::10" },
  ])(
    "to $to:$toPort carries no token and leaves by address rules: $leaves",
    ({ to, toPort, leaves, from }) => {
      const d = new Dialogue();
      const syn = buildSegment({
        from: from ?? "10.1.0.10",
        fromPort: 5000,
        to,
        toPort,
        seq: 1,
        options: synOptions,
      });
      d.client.send(syn);
      if (leaves) {
        expect(d.client.sent).toEqual([syn]);
        expect(d.client.lastCrossing).toMatchObject({ verdict: "accept", mark: "authorised" });
      } else expect(d.client.sent).toEqual([]);
      expect(d.client.records).toMatchObject([{ verdict: leaves ? "allow" : "deny", proof: "address" }]);
    },
  );

  test("to a managed address behind NAT64 carries the token", () => {
    const d = new Dialogue();
    const to = "64:ff9b::10.1.0.20";
    d.client.send(
      buildSegment({ from: "fd00:1::10", fromPort: 5000, to, toPort: 80, seq: 1, options: synOptions }),
    );
    expect(readSegment(d.client.sent[0] ?? Buffer.alloc(0)).data.length).toBeGreaterThan(100);
  });
});

describe("a peer without identity", () => {
  const syn = {
    from: "10.1.0.10",
    fromPort: 5000,
    to: "203.0.113.5",
    toPort: 443,
    seq: 1,
    options: synOptions,
  };
  const answer = { from: "203.0.113.5", fromPort: 443, to: "10.1.0.10", toPort: 5000, seq: 50, ack: 2 };

  test("that we dialled: its SYN-ACK passes as judged, without data; one with a wrong ACK does not", () => {
    const d = new Dialogue();
    d.client.send(buildSegment(syn));
    d.client.receive(buildSegment({ ...answer, flags: SYN | ACK, ack: 3 }));
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "ack-unexpected" });
    d.client.receive(buildSegment({ ...answer, flags: SYN | ACK, data: Buffer.from("early") }));
    expect(lastDelivered(d.client)).toMatchObject({ flags: SYN | ACK, data: Buffer.alloc(0) });
    d.client.receive(buildSegment({ ...answer, flags: ACK, seq: 51, data: Buffer.from("hello") }));
    expect(lastDelivered(d.client)?.data.toString()).toBe("hello");
  });

  test.each([
    { from: "10.1.0.1", reason: undefined },
    { from: "203.0.113.9", reason: "no-address-rule" },
    { from: "10.1.0.77", reason: "token-missing" },
    { from: "10.96.0.5", reason: "token-missing" },
  ])("that dials us from $from: $reason", ({ from, reason }) => {
    const d = new Dialogue();
    const inbound = { from, fromPort: 6000, to: "10.1.0.20", toPort: 80, seq: 9, options: synOptions };
    d.server.receive(buildSegment({ ...inbound, data: Buffer.from("early") }));
    if (reason === undefined) {
      expect(lastDelivered(d.server)?.data).toHaveLength(0);
      const back = { from: "10.1.0.20", fromPort: 80, to: from, toPort: 6000, seq: 70, ack: 10 };
      d.server.send(buildSegment({ ...back, flags: SYN | ACK }));
      expect(d.server.lastCrossing).toMatchObject({ queue: 3, verdict: "accept", mark: "authorised" });
      expect(d.server.records).toMatchObject([
        { verdict: "allow", rule: "app/node-probe", proof: "address" },
      ]);
    } else {
      expect(d.server.delivered).toEqual([]);
      expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason });
      expect(d.server.records).toMatchObject([{ verdict: "deny", reason }]);
    }
  });
});

describe("caps", () => {
  const dial = (d: Dialogue, fromPort: number) => {
    const syn = takeOne(d.client, () => d.client.send(d.syn({ fromPort })));
    d.server.receive(syn);
    return syn;
  };

  test("of one token: the oldest candidate leaves, a new one is never refused", () => {
    const d = new Dialogue({ limits: { halfOpenPerToken: 3 } });
    for (let port = 1; port <= 5; port++) dial(d, port);
    expect(d.server.engine.counts()).toMatchObject({ halfOpen: 3, evicted: 2 });
    expect([d.server.engine.takeEvicted(), d.server.engine.takeEvicted()]).toEqual([2, 0]);
    d.server.send(d.synAck({ toPort: 2 }));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "no-connection" });
    d.server.send(d.synAck({ toPort: 5 }));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "accept" });
  });

  test("in total: the oldest leaves", () => {
    const d = new Dialogue({ limits: { halfOpen: 3, pending: 2 } });
    for (let port = 1; port <= 5; port++) dial(d, port);
    expect(d.server.engine.counts()).toMatchObject({ halfOpen: 3, evicted: 2 });
    expect(d.client.engine.counts()).toMatchObject({ pending: 2, evicted: 3 });
  });

  test("of one 4-tuple: a SYN never replaces one", () => {
    const d = new Dialogue({ limits: { candidatesPerFlow: 2 } });
    const syns = [0, 1, 2].map(() => {
      d.client.restart();
      return d.wireSyn();
    });
    for (const syn of syns) d.server.receive(syn);
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "table-full" });
    d.server.receive(syns[0] ?? Buffer.alloc(0));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "accept", mark: "judged" });
    expect(d.server.engine.counts()).toMatchObject({ halfOpen: 2, evicted: 0 });
  });

  test("all tables empty in time", () => {
    const d = new Dialogue();
    for (let port = 1; port <= 5; port++) dial(d, port);
    d.connect();
    for (const pod of [d.client, d.server]) {
      pod.engine.expire(80_000);
      expect(pod.engine.counts()).toEqual({
        pending: 0,
        halfOpen: 0,
        addressFlows: 0,
        recent: 0,
        evicted: 0,
      });
    }
  });
});
