/** The engine's rules on SYN-ACKs and on the segments that prove, one at a time. Source: enforcer/handshake/README.md. */
import { describe, expect, test } from "vitest";
import { Dialogue, lastDelivered, takeOne } from "./dialogue.ts";
import { ACK, alter, dataOptions, FIN, PSH, readSegment, RST } from "./segments.ts";

const tagOption = /fd147472[0-9a-f]{32}/;

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
