/** Owns the tests of rewriting: whole packets compared with ones of the independent builder. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as p from "../../enforcer/packet/packet.ts";
import { parsePacket } from "../../enforcer/packet/parse.ts";
import { TcpRewriter } from "../../enforcer/packet/tcp-rewriter.ts";
import type { TcpFields } from "./build.ts";
import { both, hex, tcpPacket } from "./build.ts";

const rewriter = new TcpRewriter();

function rewrite(bytes: Uint8Array, edit: (rewriter: TcpRewriter) => void): string {
  const packet = new p.Packet();
  expect(parsePacket(bytes, 0, bytes.length, packet)).toBeUndefined();
  rewriter.begin(packet);
  edit(rewriter);
  const result = rewriter.finish();
  return typeof result === "string" ? result : Buffer.from(result).toString("hex");
}

const marker = "fd047472";
const tagBytes = hex("000102030405060708090a0b0c0d0e0f");
const tag = `fd147472${tagBytes.toString("hex")}`;
const mss = "020405b4";
const sackPermitted = "0402";
const timestamps = "080a00000001000000ff";
const windowScale = "03030a";
const nop = "01";
const linuxSyn = mss + sackPermitted + timestamps + nop + windowScale;
const sack = (blocks: number): string =>
  `05${(2 + 8 * blocks).toString(16).padStart(2, "0")}${"a1b2c3d4e5f60718".repeat(blocks)}`;
const md5 = `1312${"5a".repeat(16)}`;
const ao = `1d100102${"5a".repeat(12)}`;
const every =
  p.optionMarker | p.optionTag | p.optionFastOpen | p.optionMultipath | p.optionSack | p.optionAccurateEcn;
const synCleaning = p.optionMarker | p.optionTag | p.optionFastOpen | p.optionMultipath;

interface Case {
  readonly name: string;
  readonly before: TcpFields;
  readonly edit: (rewriter: TcpRewriter) => void;
  readonly after: TcpFields;
}

const insertMarker = (r: TcpRewriter): void => r.insertMarker();
const insertTag = (r: TcpRewriter): void => r.insertTag(tagBytes);
const clean = (r: TcpRewriter): void => r.removeOptions(synCleaning);

const cases: readonly Case[] = [
  {
    name: "nothing",
    before: { options: linuxSyn, payload: "0102" },
    edit: () => undefined,
    after: { options: linuxSyn, payload: "0102" },
  },
  {
    name: "an outgoing SYN gets marker, payload and window",
    before: { options: linuxSyn, window: 536 },
    edit: (r) => {
      clean(r);
      r.insertMarker();
      r.replacePayload(hex("d7545249"));
      r.setWindow(1460);
    },
    after: { options: linuxSyn + marker, window: 1460, payload: "d7545249" },
  },
  {
    name: "an incoming SYN loses them",
    before: { options: linuxSyn + marker, window: 1460, payload: "d754524952" },
    edit: (r) => {
      clean(r);
      r.dropPayload();
      r.setWindow(536);
    },
    after: { options: linuxSyn, window: 536 },
  },
  {
    name: "Fast Open leaves",
    before: { options: `${mss}220a0011223344556677${nop}${nop}` },
    edit: clean,
    after: { options: `${mss}${nop}${nop}` },
  },
  {
    name: "a Fast Open request leaves",
    before: { options: `${mss}2202${nop}${nop}` },
    edit: clean,
    after: { options: `${mss}${nop}${nop}` },
  },
  {
    name: "experimental Fast Open leaves",
    before: { options: `fe08f98911223344${mss}` },
    edit: clean,
    after: { options: mss },
  },
  {
    name: "another experiment stays",
    before: { options: `fe041234${mss}` },
    edit: clean,
    after: { options: `fe041234${mss}` },
  },
  {
    name: "Multipath leaves",
    before: { options: `1e0c0081aabbccddeeff0011${mss}` },
    edit: clean,
    after: { options: mss },
  },
  {
    name: "what is not named stays",
    before: { options: "22020101" },
    edit: (r) => r.removeOptions(p.optionMultipath),
    after: { options: "22020101" },
  },
  {
    name: "the only option leaves",
    before: { options: "220a0011223344556677" },
    edit: clean,
    after: { options: "" },
  },
  {
    name: "a marker that is there is not doubled",
    before: { options: marker + mss },
    edit: insertMarker,
    after: { options: mss + marker },
  },
  {
    name: "a tag that is there gives way to the new one",
    before: { options: `fd147472${"ff".repeat(16)}` },
    edit: insertTag,
    after: { options: tag },
  },
  {
    name: "an insertion goes before the end of the list",
    before: { options: `${mss}00adbeef` },
    edit: insertMarker,
    after: { options: mss + marker },
  },
  {
    name: "the tag beside timestamps",
    before: { options: nop + nop + timestamps },
    edit: insertTag,
    after: { options: nop + nop + timestamps + tag },
  },
  {
    name: "NOPs give way first",
    before: { options: nop + nop + timestamps + nop + nop + sack(1) },
    edit: insertTag,
    after: { options: timestamps + sack(1) + tag },
  },
  {
    name: "then SACK blocks",
    before: { options: nop + nop + timestamps + nop + nop + sack(3) },
    edit: insertTag,
    after: { options: timestamps + tag },
  },
  {
    name: "then accurate ECN",
    before: { options: `${timestamps}ac0b000001000001000001${sack(1)}` },
    edit: insertTag,
    after: { options: `${timestamps}${tag}` },
  },
  {
    name: "accurate ECN stays where SACK blocks made room enough",
    before: { options: `${timestamps}ae08000001000000${sack(2)}` },
    edit: insertTag,
    after: { options: `${timestamps}ae08000001000000${tag}` },
  },
  {
    name: "MD5: only ours leave",
    before: { options: `${md5}2202${marker}` },
    edit: (r) => r.removeOptions(every),
    after: { options: `${md5}2202` },
  },
  {
    name: "AO: marker in and nothing else touched",
    before: { options: `${ao}${nop}${nop}2202` },
    edit: (r) => {
      clean(r);
      r.insertMarker();
    },
    after: { options: `${ao}${nop}${nop}2202${marker}` },
  },
];

describe.each(both)("rewriting over IPv$version", ({ version }) => {
  const header = version === 4 ? 20 : 40;

  it.each(cases)("$name", ({ before, edit, after }) => {
    expect(rewrite(tcpPacket(version, before), edit)).toBe(tcpPacket(version, after).toString("hex"));
  });

  it("cuts the payload, and FIN and PSH with it", () => {
    const data = { flags: 0x19, payload: "00112233" };
    const limit = (bytes: number) => (r: TcpRewriter) => r.limitPacket(header + 20 + bytes);
    const cut = tcpPacket(version, { flags: 0x10, payload: "0011" }).toString("hex");
    expect(rewrite(tcpPacket(version, data), limit(2))).toBe(cut);
    expect(rewrite(tcpPacket(version, data), limit(4))).toBe(tcpPacket(version, data).toString("hex"));
    expect(rewrite(tcpPacket(version, data), limit(0))).toBe(
      tcpPacket(version, { flags: 0x10 }).toString("hex"),
    );
    expect(rewrite(tcpPacket(version, data), limit(-1))).toBe("packet-too-big");
  });

  it("counts the tag in the limit", () => {
    const bytes = tcpPacket(version, { flags: 0x18, payload: "00".repeat(1440) });
    const result = rewrite(bytes, (r) => {
      r.insertTag(tagBytes);
      r.limitPacket(bytes.length);
    });
    expect(result).toBe(
      tcpPacket(version, { flags: 0x10, options: tag, payload: "00".repeat(1420) }).toString("hex"),
    );
  });

  it("never cuts a payload of ours", () => {
    const edit = (limit: number) => (r: TcpRewriter) => {
      r.replacePayload(Buffer.alloc(100));
      r.limitPacket(limit);
    };
    expect(rewrite(tcpPacket(version, {}), edit(header + 119))).toBe("packet-too-big");
    expect(rewrite(tcpPacket(version, {}), edit(header + 120))).toHaveLength(2 * (header + 120));
  });

  it("refuses what exceeds the IP length", () => {
    const fill = (length: number) => (r: TcpRewriter) => r.replacePayload(Buffer.alloc(length, 0xff));
    expect(rewrite(tcpPacket(version, {}), fill(65_536 - header - 20))).toBe("packet-too-big");
    const largest = 65_535 - header - 20;
    const expected = tcpPacket(version, { payload: "ff".repeat(largest) }).toString("hex");
    expect(rewrite(tcpPacket(version, {}), fill(largest)) === expected).toBe(true);
  });

  it.each<[string, string]>([
    ["MD5 and timestamps", md5 + timestamps],
    ["MD5, SACK blocks and NOPs, which don't give way there", `${md5}${nop}${nop}${sack(2)}`],
    ["options that aren't advisory", `${mss}${timestamps}ff0a0000000000000000`],
  ])("says that the options are full: %s", (_name, options) => {
    expect(rewrite(tcpPacket(version, { options, flags: 0x10 }), insertTag)).toBe("options-full");
  });

  it("gives a signed segment back bit by bit after marker and payload went in and out", () => {
    for (const options of [md5, ao, `${ao}${nop}${nop}`, `${ao}${timestamps}`, `${md5}00`]) {
      const original = tcpPacket(version, { options });
      const there = rewrite(original, (r) => {
        r.insertMarker();
        r.replacePayload(hex("d7545249"));
      });
      const back = rewrite(hex(there), (r) => {
        r.removeOptions(p.optionMarker);
        r.dropPayload();
      });
      expect(back).toBe(original.toString("hex"));
    }
  });

  it("keeps IP options and extension headers", () => {
    const ip = version === 4 ? { extra: "94040000" } : { nextHeader: 60, extra: "0600010400000000" };
    const result = rewrite(tcpPacket(version, { payload: "01" }, ip), (r) => {
      r.insertMarker();
      r.replacePayload(hex("010203"));
    });
    expect(result).toBe(tcpPacket(version, { options: marker, payload: "010203" }, ip).toString("hex"));
  });

  it("keeps the reserved and accurate-ECN bits beside the data offset", () => {
    const bytes = tcpPacket(version, { options: mss });
    bytes[header + 12] = 0x61;
    const result = hex(rewrite(bytes, insertMarker));
    expect(result[header + 12]).toBe(0x71);
  });

  it("takes a packet at an odd offset of a larger buffer", () => {
    const inner = tcpPacket(version, { options: linuxSyn, payload: "010203" });
    const larger = Buffer.concat([Buffer.alloc(3), inner, Buffer.alloc(5, 0xff)]);
    const packet = new p.Packet();
    expect(parsePacket(larger, 3, inner.length + 5, packet)).toBeUndefined();
    rewriter.begin(packet);
    const result = rewriter.finish();
    expect(result).toEqual(new Uint8Array(inner));
  });
});

describe("any segment", () => {
  const option = fc.oneof(
    fc.constantFrom(
      nop,
      mss,
      sackPermitted,
      windowScale,
      timestamps,
      sack(1),
      sack(2),
      "2202",
      "fe04f989",
      "1e041234",
      md5,
      "ae02",
    ),
    fc
      .uint8Array({ maxLength: 6 })
      .map((body) => Buffer.from([0x45, body.length + 2, ...body]).toString("hex")),
  );
  const options = fc
    .array(option, { maxLength: 8 })
    .map((list) => list.reduce((all, one) => ((all + one).length <= 80 ? all + one : all), ""));
  const payload = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString("hex"));

  it("has right lengths and sums after any edit, keeps what isn't named, and always its timestamps", () => {
    const edits = fc.record({
      version: fc.constantFrom<4 | 6>(4, 6),
      options,
      payload,
      mask: fc.nat(0x7f),
      addition: fc.constantFrom("none", "marker", "tag"),
      limit: fc.integer({ min: 60, max: 400 }),
    });
    fc.assert(
      fc.property(edits, ({ version, options, payload, mask, addition, limit }) => {
        const bytes = tcpPacket(version, { options, payload, flags: 0x18 });
        const result = rewrite(bytes, (r) => {
          r.removeOptions(mask);
          if (addition === "marker") r.insertMarker();
          if (addition === "tag") r.insertTag(tagBytes);
          r.limitPacket(limit);
        });
        if (result === "options-full" || result === "packet-too-big") return;
        const packet = new p.Packet();
        const out = hex(result);
        expect(parsePacket(out, 0, out.length, packet)).toBeUndefined();
        const again = tcpPacket(version, {
          options: out.subarray(packet.transportOffset + 20, packet.payloadOffset).toString("hex"),
          payload: out.subarray(packet.payloadOffset).toString("hex"),
          flags: packet.flags,
        });
        expect(result).toBe(again.toString("hex"));
        expect(out.length).toBeLessThanOrEqual(limit);
        expect(result.includes(timestamps)).toBe(bytes.toString("hex").includes(timestamps));
        const expected = addition === "marker" ? p.optionMarker : addition === "tag" ? p.optionTag : 0;
        expect(packet.options & (p.optionMarker | p.optionTag)).toBe(expected);
        const signed = (packet.options & p.optionSigned) !== 0;
        if (!signed) expect(packet.options & mask & ~(p.optionMarker | p.optionTag | p.optionSigned)).toBe(0);
      }),
      { numRuns: 3_000 },
    );
  });
});
