/** Segments that TCP-MD5 (RFC 2385) or TCP-AO (RFC 5925) signs: what the other stack gets is, byte for byte, what was signed. Source: PROTOCOL.md, "Signed segments". */
import { describe, expect, test } from "vitest";
import { Dialogue } from "./dialogue.ts";
import { ACK, PSH, readSegment, RST } from "./segments.ts";

const signature = "00112233445566778899aabbccddeeff";
/** As Linux lays them out; MD5 leaves timestamps out, since both don't fit. */
const md5 = `0101 1312${signature}`;
const ao = `1d10 0101 ${signature.slice(0, 24)}`;

const signed = [
  { name: "MD5", syn: `020405b4 0402 0101 030307 01 ${md5}`, ack: md5 },
  {
    name: "MD5 behind the others, ended by end-of-list",
    syn: `020405b4 1312${signature} 00 00`,
    ack: `1312${signature} 0000`,
  },
  { name: "AO", syn: `020405b4 0402 0101 030307 01 ${ao}`, ack: ao },
  {
    name: "AO, with Fast Open and Multipath beside it",
    syn: `2202 1e04 0001 0101 ${ao}`,
    ack: `1e04 0001 ${ao}`,
  },
  { name: "AO, with SACK blocks beside it", syn: `0402 0101 ${ao}`, ack: ao },
];

const bare = (options: string): string => options.replaceAll(" ", "");

describe.each(signed)("a handshake signed by $name", ({ syn, ack }) => {
  test("reaches the other stack as it was signed: header, options, window and data", () => {
    for (const window of [536, 64_240]) {
      const d = new Dialogue();
      const sent = [
        d.syn({ options: syn, window }),
        d.synAck({ options: syn, window }),
        d.ack({ options: ack }),
      ];
      const data = d.data("GET /", { options: ack });
      const [first, answer, third] = sent as [Buffer, Buffer, Buffer];
      d.client.send(first);
      d.server.receive(last(d.client.sent));
      d.server.send(answer);
      d.client.receive(last(d.server.sent));
      d.client.send(third);
      d.server.receive(last(d.client.sent));
      d.client.send(data);
      d.server.receive(last(d.client.sent));
      const got = [...d.server.delivered, ...d.client.delivered];
      expect(got.map((packet) => packet.toString("hex"))).toEqual(
        [first, third, data, answer].map((packet) => packet.toString("hex")),
      );
      expect(d.server.lastCrossing).toMatchObject({ verdict: "accept", mark: "authorised" });
    }
  });

  test("carries every option on the wire that the stack put there; ours is behind them", () => {
    const d = new Dialogue();
    d.client.send(d.syn({ options: syn }));
    const options = readSegment(last(d.client.sent)).options;
    expect(options.startsWith(bare(syn).replace(/(00)+$/, ""))).toBe(true);
    expect(options).toContain("fd047472");
  });
});

test("a signed connection gets through whether the tag arrived or not: of its repetitions every other one has it", () => {
  const isTagged = (packet: Buffer): boolean => readSegment(packet).options.includes("fd147472");
  const d = new Dialogue();
  const wireSyn = sendSyn(d);
  d.wireAck(d.wireSynAck(wireSyn));
  const data = d.data("GET /", { options: md5 });
  const tags = Array.from({ length: 5 }, () => {
    d.client.send(data);
    return isTagged(last(d.client.sent));
  });
  expect(tags).toEqual([false, true, false, true, false]);
  // The first tag was lost: the repetition with one authorises.
  d.server.receive(d.client.sent[2] ?? data);
  expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-missing" });
  d.server.receive(d.client.sent[3] ?? data);
  expect(last(d.server.delivered).equals(data)).toBe(true);
});

function sendSyn(d: Dialogue): Buffer {
  d.client.send(d.syn({ options: md5 }));
  return last(d.client.sent);
}

test("a signed SYN loses data that isn't ours", () => {
  const d = new Dialogue();
  d.client.send(d.syn({ options: md5, data: Buffer.from("early") }));
  d.server.receive(last(d.client.sent));
  expect(readSegment(last(d.server.delivered))).toMatchObject({ options: bare(md5), data: Buffer.alloc(0) });
});

test("without room for the marker a signed SYN goes without it, and nothing gives way", () => {
  const d = new Dialogue();
  // 20 bytes of MD5, 12 of the usual options, 8 of NOPs: all 40.
  const packet = d.syn({ options: `${md5} 020405b4 0402 0101 030307 01 0101010101010101` });
  d.client.send(packet);
  const wire = readSegment(last(d.client.sent));
  expect(wire.options).toBe(readSegment(packet).options);
  expect(wire.data.subarray(1, 8).toString()).toBe("TRIREME");
  d.server.receive(last(d.client.sent));
  expect(last(d.server.delivered).equals(packet)).toBe(true);
});

test("without room for the tag the connection is refused, with the reason", () => {
  const d = new Dialogue();
  const options = `0101 080a 00000001 00000001 ${ao}`;
  d.client.send(d.syn({ options }));
  d.client.receive(d.wireSynAck(last(d.client.sent)));
  d.client.send(d.ack({ options, flags: ACK | PSH }));
  expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "options-full" });
  expect(d.client.records.at(-1)).toMatchObject({ verdict: "deny", reason: "options-full" });
  expect(readSegment(last(d.client.sent)).flags & RST).toBe(RST);
  expect(readSegment(last(d.client.delivered)).flags & RST).toBe(RST);
  expect(d.client.engine.counts().pending).toBe(0);
});

function last(packets: readonly Buffer[]): Buffer {
  const packet = packets.at(-1);
  if (packet === undefined) throw new Error("no packet");
  return packet;
}
