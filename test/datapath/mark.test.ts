import fc from "fast-check";
import { expect, test } from "vitest";
import { verdictMark, verdictMarks } from "../../enforcer/datapath/mark.ts";

test("states lie in the top four bits of the mask", () => {
  expect(verdictMarks(0xfff00000)).toEqual({
    mask: 0xfff00000,
    judged: 0x10000000,
    authorising: 0x5ff00000,
    authorised: 0x50000000,
  });
  expect(verdictMarks(0x00000fff)).toEqual({
    mask: 0x00000fff,
    judged: 0x00000100,
    authorising: 0x000005ff,
    authorised: 0x00000500,
  });
});

test("a verdict changes our bits and no others", () => {
  fc.assert(
    fc.property(fc.nat(20), fc.integer({ min: 0, max: 0xffffffff }), (shift, packetMark) => {
      const marks = verdictMarks((0xfff << shift) >>> 0);
      expect(verdictMark(marks, packetMark, "none")).toBeUndefined();
      const mark = verdictMark(marks, packetMark, "authorised") ?? -1;
      expect((mark & ~marks.mask) >>> 0).toBe((packetMark & ~marks.mask) >>> 0);
      expect((mark & marks.mask) >>> 0).toBe(marks.authorising);
    }),
  );
});
