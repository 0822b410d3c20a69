/** What the start of a program needed can be given back, and everything goes on working. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { releaseUnusedMemory } from "../../netlink/memory.ts";

/** Of the program's and its libraries' files, in kB. */
function mappedFromFilesKb(): number {
  const [, kb] = /^RssFile:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return Number(kb);
}

test("the pages of the program's file are given back, and come again where they are needed", () => {
  const before = mappedFromFilesKb();
  expect(releaseUnusedMemory()).toBe(true);
  expect(mappedFromFilesKb()).toBeLessThan(before);
  expect(JSON.parse(JSON.stringify({ still: ["here"] }))).toEqual({ still: ["here"] });
});
