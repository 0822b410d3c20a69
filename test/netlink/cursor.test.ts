/** The one reader and writer of attributes: round trips, cut input, hostile lengths. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { AttributeCursor, Attributes, Malformed, MessageWriter, viewOf } from "../../netlink/cursor.ts";
import { attributeList } from "./attribute-list.ts";

const attributes = fc.array(
  fc.record({ type: fc.integer({ min: 0, max: 0x3fff }), data: fc.uint8Array({ maxLength: 40 }) }),
  { minLength: 1, maxLength: 8 },
);

function write(list: readonly { readonly type: number; readonly data: Uint8Array }[]): Uint8Array {
  const writer = new MessageWriter(16);
  for (const { type, data } of list) writer.bytes(type, data);
  return writer.written().slice();
}

test("what is written is read", () => {
  fc.assert(
    fc.property(attributes, (list) => {
      expect(attributeList(write(list))).toEqual(list);
      const read = new Attributes(write(list));
      expect(read.types()).toEqual(list.map(({ type }) => type));
      for (const { type } of list) {
        const last = list.findLast((attribute) => attribute.type === type);
        expect(read.requiredBytes(type)).toEqual(last?.data);
      }
    }),
  );
});

test("every strict prefix is malformed, unless it ends with an attribute or in its padding", () => {
  fc.assert(
    fc.property(attributes, (list) => {
      const whole = write(list);
      const clean = new Set([0]);
      list.forEach(({ data }, index) => {
        const end = write(list.slice(0, index)).length + 4 + data.length;
        for (let length = end; length <= ((end + 3) & ~3); length++) clean.add(length);
      });
      for (let length = 0; length < whole.length; length++) {
        const read = (): unknown => new Attributes(whole.subarray(0, length));
        if (clean.has(length)) expect(read).not.toThrow();
        else expect(read).toThrow(Malformed);
      }
    }),
  );
});

test("any bytes are read or refused, and never read beyond their end", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(64), (bytes, end) => {
      const cursor = new AttributeCursor();
      cursor.enter(viewOf(bytes), 0, end);
      let last = 0;
      while (cursor.next()) {
        last = cursor.offset + cursor.length;
        expect(last).toBeLessThanOrEqual(Math.min(end, bytes.length));
      }
      expect(cursor.malformed || ((last + 3) & ~3) >= end).toBe(true);
    }),
  );
});

test.each([
  ["shorter than its own header", [3, 0, 1, 0]],
  ["of no length", [0, 0, 1, 0]],
  ["longer than what is there", [9, 0, 1, 0, 1, 2, 3, 4]],
  ["with the largest length", [0xff, 0xff, 1, 0, 1, 2, 3, 4]],
])("an attribute %s is malformed", (_, bytes) => {
  expect(() => new Attributes(Uint8Array.from(bytes))).toThrow(Malformed);
});

test("a number of another size than its type's is malformed", () => {
  const read = new Attributes(write([{ type: 1, data: Uint8Array.of(1, 2, 3) }]));
  for (const get of [
    () => read.u8(1),
    () => read.u16be(1),
    () => read.u32(1),
    () => read.u32be(1),
    () => read.u64be(1),
    () => read.requiredBytes(2),
  ]) {
    expect(get).toThrow(Malformed);
  }
  expect([read.u32(2), read.bytes(2), read.string(2), read.nested(2)]).toEqual(Array(4).fill(undefined));
});

test("the last attribute needs no padding", () => {
  expect(attributeList(Uint8Array.of(5, 0, 1, 0, 9))).toEqual([{ type: 1, data: Uint8Array.of(9) }]);
});

test("numbers, text and nests have netlink's bytes", () => {
  const writer = new MessageWriter();
  writer.begin(0x0a06, 5, 7);
  writer.nfgen(1, 0x0102);
  writer.u8(1, 0xab);
  writer.u16be(2, 0x0102);
  writer.u32(3, 0x01020304);
  writer.u32be(4, 0x01020304);
  writer.pair32be(5, 1, 2);
  writer.nest(6, () => writer.string(7, "abc"));
  writer.end();
  const text = Buffer.from(writer.written()).toString("hex");
  expect(text).toBe(
    [
      "4c000000060a05000700000000000000",
      "01000102",
      "05000100ab000000",
      "0600020001020000",
      "0800030004030201",
      "0800040001020304",
      "0c0005000000000100000002",
      "0c0006800800070061626300",
    ].join(""),
  );
});

test("a fixed buffer doesn't grow, a nest doesn't overflow its length", () => {
  const fixed = new MessageWriter(8, true);
  fixed.u32(1, 1);
  expect(() => fixed.u32(1, 1)).toThrow(RangeError);
  expect(fixed.length).toBe(8);
  const writer = new MessageWriter();
  expect(() => writer.bytes(1, new Uint8Array(65_532))).toThrow(RangeError);
  const nest = (): void =>
    writer.nest(1, () => {
      for (let index = 0; index < 3; index++) writer.bytes(2, new Uint8Array(30_000));
    });
  expect(nest).toThrow(RangeError);
});
