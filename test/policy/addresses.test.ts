import { isIP, isIPv6 } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatAddress, formatCidr, parseAddress, parseCidr } from "../../enforcer/policy/addresses.ts";
import { toNumber } from "./naive.ts";

const bytes = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc
    .uint8Array({ minLength: 4, maxLength: 4 })
    .map((tail) => Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...tail])),
  fc
    .array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 })
    .map((draft) => Uint8Array.from(draft)),
);

const hex = (address: Uint8Array | undefined): string | undefined =>
  address === undefined ? undefined : Buffer.from(address).toString("hex");

describe("addresses", () => {
  it("come back from their text", () => {
    fc.assert(
      fc.property(bytes, (address) => {
        expect(hex(parseAddress(formatAddress(address)))).toBe(hex(address));
      }),
    );
  });

  it("are written as the URL standard writes them", () => {
    fc.assert(
      fc.property(bytes, (address) => {
        const text = formatAddress(address);
        if (isIPv6(text)) expect(`[${text}]`).toBe(new URL(`http://[${text}]/`).hostname);
        else expect(text).toBe(new URL(`http://${text}/`).hostname);
      }),
    );
  });

  it("are accepted as node:net accepts them, zones aside", () => {
    const part = fc.constantFrom(
      "0",
      "1",
      "00",
      "01",
      "255",
      "256",
      "ffff",
      "10000",
      "g",
      ":",
      "::",
      ".",
      "1.2.3.4",
      "",
      " ",
      "/",
      "%",
    );
    const text = fc.oneof(
      fc.array(part, { maxLength: 10 }).map((parts) => parts.join("")),
      fc.array(part, { minLength: 3, maxLength: 9 }).map((parts) => parts.join(":")),
      fc.array(part, { minLength: 4, maxLength: 4 }).map((parts) => parts.join(".")),
      fc.ipV6(),
      fc.ipV4(),
    );
    fc.assert(
      fc.property(text, (one) => {
        expect(parseAddress(one) !== undefined).toBe(isIP(one) !== 0 && !one.includes("%"));
      }),
      { numRuns: 3000 },
    );
  });

  it("keep the number that their text says", () => {
    fc.assert(
      fc.property(bytes, (address) => {
        const text = formatAddress(address);
        const number = toNumber(text) + (text.includes(":") ? 0n : 0xffff00000000n);
        expect(number).toBe(BigInt(`0x${hex(address) ?? ""}`));
      }),
    );
  });
});

describe("CIDRs", () => {
  it.each([
    ["10.0.0.0/8", "10.0.0.0/8"],
    ["10.0.0.1", "10.0.0.1/32"],
    ["fd00::/8", "fd00::/8"],
    ["FD00:0::1", "fd00::1/128"],
    ["0.0.0.0/0", "0.0.0.0/0"],
    ["::/0", "::/0"],
  ])("%s is %s", (text, canonical) => {
    const cidr = parseCidr(text);
    expect("error" in cidr ? cidr : formatCidr(cidr)).toBe(canonical);
  });

  it.each([
    ["10.0.0.1/8", "write 10.0.0.0/8"],
    ["fd00::1/8", "write fd00::/8"],
    ["::ffff:10.0.0.0/104", "write 10.0.0.0/8"],
    ["::ffff:10.1.2.3", "write 10.1.2.3/32"],
    ["10.0.0.0/33", "write /0 to /32 after the address"],
    ["10.0.0.0/08", "write /0 to /32 after the address"],
    ["fd00::/129", "write /0 to /128 after the address"],
    ["10.0.0.0/", "write /0 to /32 after the address"],
    ["010.0.0.0/8", "write an IPv4 or IPv6 address without leading zeros, such as 10.0.0.0/8 or fd00::/8"],
    ["10.0.0/8", "write an IPv4 or IPv6 address without leading zeros, such as 10.0.0.0/8 or fd00::/8"],
    ["fe80::1%eth0", "write an IPv4 or IPv6 address without leading zeros, such as 10.0.0.0/8 or fd00::/8"],
    ["", "write an IPv4 or IPv6 address without leading zeros, such as 10.0.0.0/8 or fd00::/8"],
  ])("%s is refused: %s", (text, remedy) => {
    expect(parseCidr(text)).toMatchObject({ remedy });
  });

  it("whose remedy is a CIDR are right once it is followed", () => {
    fc.assert(
      fc.property(bytes, fc.nat(128), (address, bits) => {
        const text = formatAddress(address);
        const cidr = parseCidr(`${text}/${text.includes(":") ? bits : bits % 33}`);
        const remedy = "error" in cidr ? cidr.remedy.replace("write ", "") : formatCidr(cidr);
        expect(parseCidr(remedy)).not.toHaveProperty("error");
      }),
    );
  });
});
