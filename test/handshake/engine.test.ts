/** The engine's rules, one at a time: which segment passes, what leaves, what is recorded. Source: enforcer/handshake/README.md. */
import { describe, expect, test } from "vitest";
import { Dialogue, lastDelivered, takeOne } from "./dialogue.ts";
import {
  ACK,
  alter,
  buildSegment,
  dataOptions,
  FIN,
  PSH,
  readSegment,
  RST,
  SYN,
  synOptions,
} from "./segments.ts";

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

describe("the client's answer", () => {
  test("a denied server: ECONNREFUSED at once, and a reset to the server", () => {
    const d = new Dialogue({ port: 82 });
    const synAck = d.wireSynAck(d.wireSyn());
    d.client.receive(synAck);
    expect(lastDelivered(d.client)).toMatchObject({ flags: RST | ACK, ack: 0xffff_fff1, seq: 0x1000_0000 });
    expect(readSegment(d.client.sent.at(-1) ?? Buffer.alloc(0))).toMatchObject({
      flags: RST,
      to: "10.1.0.20",
      seq: 0xffff_fff1,
    });
    expect(d.client.records).toMatchObject([{ verdict: "deny", reason: "no-rule", proof: "token" }]);
    expect(d.client.engine.counts().pending).toBe(0);
  });

  test("a denied client: silence from the server", () => {
    const d = new Dialogue({ port: 81 });
    d.server.receive(d.wireSyn());
    expect(d.server.delivered).toEqual([]);
    expect(d.server.sent).toEqual([]);
    expect(d.server.records).toMatchObject([{ verdict: "deny", reason: "no-rule", proof: "token" }]);
  });

  test("a refused SYN that is sent again is one record; another SYN, or another reason, is another", () => {
    const d = new Dialogue({ port: 81 });
    const syn = d.wireSyn();
    for (let count = 0; count < 3; count++) d.server.receive(syn);
    expect(d.server.crossings.map(({ reason }) => reason)).toEqual(["no-rule", "no-rule", "no-rule"]);
    expect(d.server.records).toHaveLength(1);
    d.server.receive(takeOne(d.client, () => d.client.send(d.syn({ seq: 5 }))));
    expect(d.server.records).toHaveLength(2);
    d.server.receive(d.syn({ seq: 5 }));
    d.server.receive(d.syn({ seq: 5 }));
    expect(d.server.records.map(({ reason }) => reason)).toEqual(["no-rule", "no-rule", "token-missing"]);
  });

  test("a SYN-ACK without a token is refused at once", () => {
    const d = new Dialogue();
    d.wireSyn();
    d.client.receive(d.synAck());
    expect(lastDelivered(d.client)).toMatchObject({ flags: RST | ACK });
    expect(d.client.records).toMatchObject([{ verdict: "deny", reason: "token-missing", proof: "none" }]);
  });

  test("the first segment carries the tag even if its data must be cut; full ones later don't; sent again, they do", () => {
    const d = new Dialogue();
    const synAck = d.wireSynAck(d.wireSyn());
    d.client.receive(synAck);
    const full = Buffer.alloc(1448, "x");
    const seq = (d.clientIsn + 1) >>> 0;
    const send = (at: number, data: Buffer, flags = ACK | PSH) =>
      readSegment(takeOne(d.client, () => d.client.send(d.ack({ seq: (seq + at) >>> 0, data, flags }))));
    const first = send(0, full);
    expect(first.options).toMatch(tagOption);
    expect(first).toMatchObject({ flags: ACK, data: full.subarray(0, 1428) });
    const second = send(1448, full);
    expect(second.options).not.toMatch(tagOption);
    expect(second.data).toHaveLength(1448);
    const again = send(1448, full);
    expect(again.options).toMatch(tagOption);
    expect(again.data).toHaveLength(1428);
    const small = send(2896, Buffer.from("small"));
    expect(small.options).toMatch(tagOption);
    const last = send(1448, full, ACK | FIN);
    expect(last).toMatchObject({ flags: ACK, data: full.subarray(0, 1428) });
  });

  test("advisory options give way to the tag, timestamps never", () => {
    const d = new Dialogue();
    d.client.receive(d.wireSynAck(d.wireSyn()));
    const options = `${dataOptions} 0101 0512 00000001 00000002 00000003 00000004`;
    const sent = readSegment(takeOne(d.client, () => d.client.send(d.ack({ options }))));
    expect(sent.options).toMatch(tagOption);
    expect(sent.options).toContain("080a0000000100000001");
    expect(sent.options).not.toContain("0512");
  });

  test.each([0xffff_fff0, 0xffff_fff2, 0])(
    "a SYN-ACK with ACK %i, not ISN + 1, is dropped, with a token or without",
    (ack) => {
      const d = new Dialogue();
      const synAck = d.wireSynAck(d.wireSyn());
      for (const wrong of [alter(synAck, () => ({ ack })), d.synAck({ ack })]) {
        d.client.receive(wrong);
        expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "ack-unexpected" });
      }
      expect(d.client.delivered).toEqual([]);
      expect(d.client.engine.counts().pending).toBe(1);
    },
  );

  test("once our stack has a SYN-ACK, one with another ISN is dropped, until our stack sends its SYN again", () => {
    const d = new Dialogue();
    const first = d.wireSynAck(d.wireSyn());
    const other = takeOne(d.server, () => d.server.send(d.synAck({ seq: 5 })));
    d.client.receive(first);
    d.client.receive(other);
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "ack-unexpected" });
    d.client.send(d.syn());
    d.client.receive(other);
    expect(d.client.lastCrossing).toMatchObject({ verdict: "accept", mark: "judged" });
    expect(d.client.records).toHaveLength(1);
  });

  test("a repeated SYN-ACK makes the next full segment carry the tag", () => {
    const d = new Dialogue();
    const synAck = d.wireSynAck(d.wireSyn());
    d.wireAck(synAck);
    d.client.receive(synAck);
    const sent = readSegment(
      takeOne(d.client, () => d.client.send(d.ack({ data: Buffer.alloc(1448, "x") }))),
    );
    expect(sent.options).toMatch(tagOption);
  });

  test("a server that proved itself and is silent for 75 s is authorised by conntrack; a pending SYN is forgotten", () => {
    const d = new Dialogue();
    d.wireAck(d.wireSynAck(d.wireSyn()));
    const [local, remote] = [d.client, d.client].map((pod) => pod.engine.expire(75_001))[0] ?? [];
    expect(local).toMatchObject({ action: "authorise", flow: { localPort: 40_000, remotePort: 80 } });
    expect(remote).toBeUndefined();
    d.client.nowMs = 75_100;
    d.client.send(d.syn({ seq: 5 }));
    expect(d.client.engine.expire(150_101)).toMatchObject([
      { action: "forget", reason: "connection-expired" },
    ]);
  });
});

describe("the server's answer", () => {
  test("is byte-identical when sent again, before and after authorisation, also after the token was renewed", () => {
    const d = new Dialogue({ mode: "pki" });
    const synAck = d.wireSynAck(d.wireSyn());
    d.server.unit.renew(d.server.wallMs + 1000);
    const again = takeOne(d.server, () => d.server.send(d.synAck({ window: 100 })));
    expect(readSegment(again).data.equals(readSegment(synAck).data)).toBe(true);
    d.server.receive(d.wireAck(synAck));
    const third = takeOne(d.server, () => d.server.send(d.synAck()));
    expect(readSegment(third).data.equals(readSegment(synAck).data)).toBe(true);
  });

  test("repeated after authorisation, it is answered by the tag, which authorises again", () => {
    const d = new Dialogue();
    const synAck = d.wireSynAck(d.wireSyn());
    d.server.receive(d.wireAck(synAck));
    d.server.send(d.synAck());
    expect(d.server.marked.size).toBe(0);
    d.server.nowMs = 60_000;
    d.server.receive(d.wireAck(d.server.sent.at(-1) ?? synAck));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "accept", mark: "authorised" });
    expect(d.server.records).toHaveLength(1);
  });

  test("after authorisation a wrong tag still changes nothing", () => {
    const d = new Dialogue();
    const ack = d.wireAck(d.wireSynAck(d.wireSyn()));
    d.server.receive(ack);
    d.server.marked.clear();
    d.server.nowMs = 60_000;
    d.server.receive(
      alter(ack, ({ options }) => ({
        options: `${options.slice(0, -2)}${options.endsWith("00") ? "01" : "00"}`,
      })),
    );
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
    d.server.receive(d.data("GET"));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-missing" });
    d.server.receive(ack);
    expect(d.server.lastCrossing).toMatchObject({ verdict: "accept", mark: "authorised" });
  });

  test("has no data of the stack's, and needs a candidate", () => {
    const d = new Dialogue();
    d.server.send(d.synAck());
    expect(d.server.lastCrossing).toMatchObject({ queue: 3, verdict: "drop", reason: "no-connection" });
    d.server.receive(d.wireSyn());
    const sent = takeOne(d.server, () => d.server.send(d.synAck({ data: Buffer.from("early") })));
    expect(readSegment(sent).data.includes("early")).toBe(false);
    d.server.send(d.synAck({ ack: 1 }));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "no-connection" });
  });

  test("answers the candidate whose SYN the kernel got last, and the ACK's tag selects", () => {
    const d = new Dialogue();
    const first = d.wireSyn();
    d.client.restart();
    const second = d.wireSyn();
    d.server.receive(second);
    d.server.receive(first);
    d.server.send(d.synAck());
    d.client.receive(d.server.sent.at(-1) ?? first);
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
    d.server.receive(d.wireAck(d.wireSynAck(second)));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "accept", mark: "authorised" });
    expect(d.server.engine.counts().halfOpen).toBe(0);
  });

  test("untagged segments of a half-open connection are dropped, and so are the server's own", () => {
    const d = new Dialogue();
    const synAck = d.wireSynAck(d.wireSyn());
    d.server.receive(d.data("GET"));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-missing" });
    d.server.send(d.serverSegment({ data: Buffer.from("secret") }));
    expect(d.server.lastCrossing).toMatchObject({ queue: 4, verdict: "drop", reason: "tag-missing" });
    d.server.receive(d.wireAck(synAck));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "accept", mark: "authorised" });
  });

  test("policy is asked again when the client proves itself", () => {
    const d = new Dialogue();
    const ack = d.wireAck(d.wireSynAck(d.wireSyn()));
    d.server.node.policy = {
      ...d.server.node.policy,
      evaluate: () => ({ verdict: "deny", reason: "no-policy", rule: undefined }),
    };
    d.server.receive(ack);
    expect(lastDelivered(d.server)).toMatchObject({ flags: RST | ACK, data: Buffer.alloc(0) });
    expect(d.server.records).toMatchObject([{ verdict: "deny", reason: "no-policy", proof: "token" }]);
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
