import { describe, expect, test } from "vitest";
import { OwnSegments } from "../../enforcer/datapath/own-segments.ts";

/** A reset without options: addresses, ports and sequence number differ by `seed`. */
function reset(version: 4 | 6, seed: number, flags = 0x14): Uint8Array {
  const start = version === 4 ? 20 : 40;
  const packet = new Uint8Array(start + 20);
  packet[0] = version === 4 ? 0x45 : 0x60;
  new DataView(packet.buffer).setUint32(start + 4, seed);
  packet[start + 13] = flags;
  return packet;
}

describe.each([4, 6] as const)("own segments, IPv%i", (version) => {
  test("what was sent is recognised once", () => {
    const own = new OwnSegments();
    own.remember(reset(version, 7), 0);
    expect([own.recognise(reset(version, 7), 1), own.recognise(reset(version, 7), 1)]).toEqual([true, false]);
  });

  test("what was sent twice, as segments of one flow are answered, is recognised twice", () => {
    const own = new OwnSegments();
    for (const nowMs of [0, 1]) own.remember(reset(version, 7), nowMs);
    const times = Array.from({ length: 3 }, () => own.recognise(reset(version, 7), 2));
    expect(times).toEqual([true, true, false]);
  });

  test("another sequence number, another segment, or too late is not recognised", () => {
    const own = new OwnSegments();
    own.remember(reset(version, 7), 0);
    expect(own.recognise(reset(version, 8), 1)).toBe(false);
    expect(own.recognise(reset(version, 7, 0x10), 1)).toBe(false);
    expect(own.recognise(reset(version, 7), 1_001)).toBe(false);
  });

  test("remembers at most 1,024, the newest", () => {
    const own = new OwnSegments();
    for (let seed = 0; seed <= 1_024; seed += 1) own.remember(reset(version, seed), 0);
    expect([own.recognise(reset(version, 0), 1), own.recognise(reset(version, 1), 1)]).toEqual([false, true]);
  });
});
