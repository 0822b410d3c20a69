/** Owns the tests of sequence arithmetic. */
import { expect, it } from "vitest";
import { sequenceAdd, sequenceDifference } from "../../enforcer/packet/sequence.ts";

it.each([
  [0, 1, 1],
  [0xffffffff, 1, 0],
  [0xfffffff0, 0x20, 0x10],
  [5, -6, 0xffffffff],
  [0x7fffffff, 1, 0x80000000],
])("%i + %i wraps to %i, and back", (sequence, count, sum) => {
  expect(sequenceAdd(sequence, count)).toBe(sum);
  expect(sequenceDifference(sum, sequence)).toBe(count);
});
