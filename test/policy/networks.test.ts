import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatAddress, parseAddress } from "../../enforcer/policy/addresses.ts";
import { compileNetworks, type NetworksConfig } from "../../enforcer/policy/networks.ts";
import * as arbitrary from "./arbitraries.ts";
import { toNumber } from "./naive.ts";

const bytes = (text: string): Uint8Array => parseAddress(text) ?? new Uint8Array(16);

const config: NetworksConfig = {
  pods: ["10.1.0.0/16", "fd00:1::/48"],
  services: ["10.96.0.0/12", "fd00:2::/108"],
  unmanaged: [
    { address: "10.1.0.1/32" },
    { address: "10.96.0.1/32", ports: [{ first: 443, last: 443 }], protocol: 6 },
    {
      address: "10.96.0.10/32",
      ports: [
        { first: 53, last: 53 },
        { first: 9150, last: 9160 },
      ],
    },
    { address: "fd00:1::1/128", protocol: 17 },
  ],
  translators: ["10.1.0.1/32", "192.0.2.0/24"],
  nat64: ["64:ff9b::/96"],
};

describe("classify", () => {
  const map = compileNetworks(config);
  it.each([
    ["10.1.2.3", 80, 6, "pod"],
    ["10.2.0.0", 80, 6, "outside"],
    ["10.0.255.255", 80, 6, "outside"],
    ["fd00:1::2", 80, 6, "pod"],
    ["fd00:1:1::", 80, 6, "outside"],
    ["10.96.0.2", 80, 6, "service"],
    ["10.111.255.255", 80, 6, "service"],
    ["10.112.0.0", 80, 6, "outside"],
    ["10.1.0.1", 1, 17, "unmanaged"],
    ["10.96.0.1", 443, 6, "unmanaged"],
    ["10.96.0.1", 443, 17, "service"],
    ["10.96.0.1", 442, 6, "service"],
    ["10.96.0.10", 9155, 6, "unmanaged"],
    ["10.96.0.10", 9161, 6, "service"],
    ["fd00:1::1", 80, 6, "pod"],
    ["fd00:1::1", 80, 17, "unmanaged"],
    ["8.8.8.8", 53, 17, "outside"],
    ["::10.1.2.3", 80, 6, "outside"],
  ] as const)("%s port %d protocol %d is %s", (address, port, protocol, kind) => {
    expect(map.classify(bytes(address), port, protocol)).toBe(kind);
  });

  it("knows translators and Service addresses", () => {
    const translators = ["10.1.0.1", "192.0.2.255", "192.0.3.0", "10.1.0.2"].map((one) =>
      map.isTranslator(bytes(one)),
    );
    expect(translators).toEqual([true, true, false, false]);
    const services = ["10.96.0.1", "10.96.0.2", "10.1.0.1", "fd00:2::1"].map((one) =>
      map.isServiceAddress(bytes(one)),
    );
    expect(services).toEqual([true, true, false, true]);
  });

  it("agrees with plain arithmetic on any blocks", () => {
    const blocks = fc.array(arbitrary.cidr, { maxLength: 8 });
    fc.assert(
      fc.property(blocks, blocks, arbitrary.address, (translators, services, address) => {
        const random = compileNetworks({ ...config, translators, services });
        expect(random.isTranslator(bytes(address))).toBe(translators.some((one) => isInside(one, address)));
        expect(random.isServiceAddress(bytes(address))).toBe(services.some((one) => isInside(one, address)));
      }),
      { numRuns: 500 },
    );
  });
});

describe("stripNat64", () => {
  // RFC 6052 2.4, "Text Representation": 192.0.2.33 in each prefix.
  it.each([
    ["2001:db8::/32", "2001:db8:c000:221::"],
    ["2001:db8:100::/40", "2001:db8:1c0:2:21::"],
    ["2001:db8:122::/48", "2001:db8:122:c000:2:2100::"],
    ["2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"],
    ["2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"],
    ["2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"],
    ["64:ff9b::/96", "64:ff9b::192.0.2.33"],
  ])("takes 192.0.2.33 out of %s", (prefix, address) => {
    const map = compileNetworks({ ...config, nat64: [prefix] });
    expect(formatAddress(map.stripNat64(bytes(address)))).toBe("192.0.2.33");
  });

  it("leaves any other address as it is", () => {
    const map = compileNetworks(config);
    for (const address of [bytes("10.1.2.3"), bytes("64:ff9c::1")])
      expect(map.stripNat64(address)).toBe(address);
  });
});

function isInside(cidr: string, address: string): boolean {
  const [text = "", length = "0"] = cidr.split("/");
  if (text.includes(":") !== address.includes(":")) return false;
  const rest = BigInt((text.includes(":") ? 128 : 32) - Number(length));
  return toNumber(text) >> rest === toNumber(address) >> rest;
}
