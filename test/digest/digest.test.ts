/** The digests beside node:crypto's, which are made another way. */
import { createHash, createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { digestInput, digestLength, HmacBlocks, hmacSha256, sha256 } from "../../enforcer/digest/digest.ts";
import { loadAddonFromBytes, loadNativeFromBytes } from "../../netlink/addon.ts";

const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
const size = fc.integer({ min: 0, max: digestLength });

it("are SHA-256", () => {
  fc.assert(
    fc.property(bytes(300), size, (input, wanted) => {
      digestInput.set(input);
      const expected = createHash("sha256").update(input).digest().subarray(0, wanted);
      expect(sha256(input.length, wanted)).toEqual(expected);
      expect(digestInput.subarray(0, input.length)).toEqual(Buffer.from(input));
    }),
  );
});

it("are HMAC-SHA-256", () => {
  fc.assert(
    fc.property(bytes(64), bytes(300), size, (key, input, wanted) => {
      digestInput.set(input);
      const expected = createHmac("sha256", key).update(input).digest().subarray(0, wanted);
      expect(hmacSha256(new HmacBlocks(key), input.length, wanted)).toEqual(expected);
    }),
  );
});

it("belong to the caller", () => {
  const first = sha256(1);
  const copy = Buffer.from(first);
  sha256(2);
  expect(first).toEqual(copy);
});

it("take all of the input, and no byte more", () => {
  const { length } = digestInput;
  randomBytes(length).copy(digestInput);
  expect(sha256(length)).toEqual(createHash("sha256").update(digestInput).digest());
  for (const wrong of [length + 1, 0xffffffff, -1])
    expect(() => hmacSha256(new HmacBlocks(Buffer.alloc(0)), wrong)).toThrow(RangeError);
});

it("take no key that is longer than a block", () => {
  expect(() => new HmacBlocks(new Uint8Array(65))).toThrow(RangeError);
});

it("are found beside the netlink addon when both are loaded from memory", () => {
  const read = (path: string) =>
    readFileSync(
      join(import.meta.dirname, "../..", path, "prebuilds/linux-x64", `${path.split("/").at(-1)}.node`),
    );
  expect(loadAddonFromBytes(read("netlink"))).toHaveProperty("openSocket");
  expect(loadNativeFromBytes(read("enforcer/digest"), "/proc/thread-self/fd")).toHaveProperty("hmacSha256");
});
