/** Sets of ranges and the elements that an interval set is made of. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { AnonymousSet, SetRange } from "../../netlink/nftables/model.ts";
import { fromIntervalElements, joinNeighbours, toElements } from "../../netlink/nftables/ranges.ts";

const range = (from: number, to: number): SetRange => ({ from: Uint8Array.of(from), to: Uint8Array.of(to) });
const set = (...ranges: readonly SetRange[]): AnonymousSet => ({ keyType: "other", keyLength: 1, ranges });
const text = (ranges: readonly SetRange[]): string[] => ranges.map(({ from, to }) => `${from[0]}-${to[0]}`);

test.each([
  ["constants", set(range(7, 7), range(3, 3), range(7, 7)), ["3", "7"]],
  ["an interval", set(range(16, 31)), ["0 end", "16", "32 end"]],
  ["one from zero on", set(range(0, 15)), ["0", "16 end"]],
  ["one to the last key", set(range(240, 255)), ["0 end", "240"]],
  ["touching ones", set(range(16, 31), range(32, 47)), ["0 end", "16", "48 end"]],
  ["one in another", set(range(16, 47), range(20, 30)), ["0 end", "16", "48 end"]],
  ["everything", set(range(0, 255)), ["0"]],
])("the elements of %s", (_, ranges, wanted) => {
  expect(toElements(ranges).map(({ key, end }) => `${key[0]}${end ? " end" : ""}`)).toEqual(wanted);
});

test("keys in the set are those in the ranges, there and back", () => {
  const ranges = fc.array(
    fc.tuple(fc.nat(255), fc.nat(255)).map(([a, b]) => range(Math.min(a, b), Math.max(a, b))),
    { minLength: 1, maxLength: 8 },
  );
  fc.assert(
    fc.property(ranges, (given) => {
      const isIn = (list: readonly SetRange[], key: number): boolean =>
        list.some(({ from, to }) => (from[0] ?? 256) <= key && key <= (to[0] ?? -1));
      const joined = joinNeighbours(given);
      for (let key = 0; key < 256; key++) expect(isIn(joined, key)).toBe(isIn(given, key));
      const interval = set(...given, range(0, 1));
      const back = fromIntervalElements(toElements(interval).toReversed(), 1);
      expect(text(back ?? [])).toEqual(text(joinNeighbours(interval.ranges)));
    }),
  );
});

test.each([
  ["an end without a start", [{ key: Uint8Array.of(5), end: true }]],
  [
    "two starts in a row",
    [
      { key: Uint8Array.of(5), end: false },
      { key: Uint8Array.of(6), end: false },
    ],
  ],
])("%s is no interval set", (_, elements) => {
  expect(fromIntervalElements(elements, 1)).toBeUndefined();
});
