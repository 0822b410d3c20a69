/** Strict CBOR: one form for each value, and nothing else is read. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CborValue, decodeCbor, encodeCbor } from "../../enforcer/identity/cbor.ts";
import { strictPrefixes } from "./fixtures.ts";

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(" ", ""), "hex");

describe("decodeCbor", () => {
  it.each([
    [
      "a map",
      "a2 01 61 61 02 43 010203",
      new Map<number, unknown>([
        [1, "a"],
        [2, new Uint8Array([1, 2, 3])],
      ]),
    ],
    ["an empty array", "80", []],
    ["negative integers", "83 20 26 3a 00010000", [-1, -7, -65537]],
    ["booleans", "82 f4 f5", [false, true]],
  ])("reads %s", (_name, bytes, value) => {
    expect(decodeCbor(hex(bytes), 100)).toEqual(value);
  });

  it.each([
    ["nothing", ""],
    ["an integer longer than it need be", "18 01"],
    ["a length longer than it need be", "58 01 00"],
    ["an indefinite array", "9f 01 ff"],
    ["an indefinite string", "7f 61 61 ff"],
    ["a break alone", "ff"],
    ["duplicate keys", "a2 01 01 01 02"],
    ["keys out of order", "a2 02 01 01 01"],
    ["text keys in length-last order", "a2 62 6161 01 61 62 02"],
    ["bytes after the item", "01 01"],
    ["a tag", "c1 01"],
    ["a float that is an integer", "f9 3c00"],
    ["NaN", "f9 7e00"],
    ["undefined", "f7"],
    ["an integer beyond 2^53", "1b 0020000000000001"],
    ["text that is no UTF-8", "61 ff"],
    ["a surrogate in text", "63 eda080"],
    ["an array of 2^32 - 1", "9a ffffffff"],
    ["a map as key", "a1 a0 01"],
    ["a byte string as key, twice", "a2 41 00 01 41 00 02"],
    ["nine containers, one in another", `${"81".repeat(9)} 01`],
    ["thousands of containers", "81".repeat(4000)],
  ])("refuses %s", (_name, bytes) => {
    expect(decodeCbor(hex(bytes), 4096)).toBeUndefined();
  });

  it("reads eight containers, one in another, beside others", () => {
    expect(decodeCbor(hex(`82 80 ${"81".repeat(7)} 01`), 100)).toEqual([[], [[[[[[[1]]]]]]]]);
  });

  it("refuses what is longer than it may be", () => {
    const bytes = encodeCbor(new Uint8Array(100));
    expect(decodeCbor(bytes, bytes.length)).toBeDefined();
    expect(decodeCbor(bytes, bytes.length - 1)).toBeUndefined();
  });

  it("shares no memory with its input", () => {
    const input = encodeCbor([new Uint8Array([1, 2, 3])]);
    const value = decodeCbor(input, 100);
    input.fill(0xff);
    expect(value).toEqual([new Uint8Array([1, 2, 3])]);
  });
});

const leaf = fc.oneof(
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 }),
  fc.string({ unit: "grapheme" }),
  fc.boolean(),
  fc.uint8Array({ maxLength: 40 }),
);
const key = fc.oneof(
  fc.integer({ min: -70_000, max: 70_000 }),
  fc.string({ unit: "grapheme", maxLength: 30 }),
);
const pairs = fc.array(fc.tuple(key, leaf), { maxLength: 12 });
const value: fc.Arbitrary<CborValue> = fc.oneof(
  leaf,
  fc.array(leaf, { maxLength: 12 }),
  pairs.map((entries) => new Map(entries)),
);

describe("every value", () => {
  it("comes back as it was", () => {
    fc.assert(
      fc.property(value, (one) => {
        expect(decodeCbor(encodeCbor(one), 65_536)).toEqual(one);
      }),
    );
  });

  it("has no encoding that is the start of another", () => {
    fc.assert(
      fc.property(value, (one) => {
        for (const prefix of strictPrefixes(encodeCbor(one)))
          expect(decodeCbor(prefix, 65_536)).toBeUndefined();
      }),
    );
  });

  it("has one encoding: whatever is read is written back byte by byte", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const read = decodeCbor(bytes, 64);
        if (read !== undefined) expect(encodeCbor(read)).toEqual(bytes);
      }),
      { numRuns: 2000 },
    );
  });
});
