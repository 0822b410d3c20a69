/** Addresses and prefixes as text. */
import fc from "fast-check";
import { BlockList, isIPv6 } from "node:net";
import { expect, test } from "vitest";
import { formatAddress, formatPrefix, parseAddress, parsePrefix } from "../../netlink/prefix.ts";

test.each([
  ["10.0.0.1", "0a000001"],
  ["::", "00000000000000000000000000000000"],
  ["::1", "00000000000000000000000000000001"],
  ["fe80::", "fe800000000000000000000000000000"],
  ["1:2:3:4:5:6:7:8", "00010002000300040005000600070008"],
  ["1:0:0:4:0:0:0:8", "00010000000000040000000000000008"],
  ["::ffff:10.0.0.1", "00000000000000000000ffff0a000001"],
])("%s is its bytes", (text, hex) => {
  expect(Buffer.from(parseAddress(text) ?? []).toString("hex")).toBe(hex);
});

test.each(["", "10.0.0", "10.0.0.256", "::1::", "fe80::1%eth0", "1:2:3:4:5:6:7:8:9", "localhost"])(
  "%j is no address",
  (text) => {
    expect(parseAddress(text)).toBeUndefined();
  },
);

test.each(["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/-1", "::/129", "10.0.0.0/8/8", "/8"])(
  "%j is no prefix",
  (text) => {
    expect(parsePrefix(text)).toBeUndefined();
  },
);

test("text and bytes are each other's", () => {
  const address = fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), sparse);
  fc.assert(
    fc.property(address, fc.nat(32), (bytes, length) => {
      const text = formatAddress(bytes);
      expect(parseAddress(text)).toEqual(bytes);
      expect(parsePrefix(formatPrefix({ address: bytes, length }))).toEqual({ address: bytes, length });
      if (isIPv6(text)) expect(canonical(text)).toBe(text);
    }),
  );
});

const sparse = fc
  .array(fc.constantFrom(0, 0, 0, 1, 0xff), { minLength: 16, maxLength: 16 })
  .map((bytes) => Uint8Array.from(bytes));

/** As Node itself writes it, by way of the URL parser (RFC 5952 but for embedded IPv4, which it never writes). */
function canonical(text: string): string {
  expect(new BlockList().check(text, "ipv6")).toBe(false);
  return new URL(`http://[${text}]/`).hostname.slice(1, -1);
}
