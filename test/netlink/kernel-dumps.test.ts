/** Dumps that a kernel made, decoded: conntrack entries, links, addresses, routes; whole, cut and changed. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type ConntrackEntry, decodeEntry, encodeRequest } from "../../netlink/conntrack.ts";
import { MessageWriter } from "../../netlink/cursor.ts";
import type { Decoded } from "../../netlink/message.ts";
import { formatAddress, formatPrefix, parseAddress } from "../../netlink/prefix.ts";
import { decodeAddress, decodeLink, decodeRoute } from "../../netlink/route.ts";

type Dumps = Record<"links" | "addresses" | "routes" | "conntrack", readonly string[]>;
const dumps = JSON.parse(readFileSync(new URL("kernel-dumps.json", import.meta.url), "utf8")) as Dumps;

function payloads(name: keyof Dumps): Uint8Array[] {
  return dumps[name].map((hex) => Uint8Array.from(Buffer.from(hex, "hex")));
}

function values<T>(name: keyof Dumps, decode: (payload: Uint8Array) => Decoded<T>): T[] {
  return payloads(name).flatMap((payload) => {
    const decoded = decode(payload);
    return decoded.ok ? [decoded.value] : [];
  });
}

test("a link", () => {
  expect(values("links", decodeLink)).toEqual([
    {
      index: 2,
      name: "eth0",
      mtu: 1500,
      flags: 0x11043,
      address: Uint8Array.of(2, 0, 0, 0, 0, 1),
      kind: "veth",
      peerIndex: 2,
      peerNetnsId: 0,
    },
  ]);
});

test("addresses", () => {
  const found = values("addresses", decodeAddress).map((address) =>
    address === undefined ? "" : `${address.index} ${formatPrefix(address.prefix)} ${address.scope}`,
  );
  expect(found).toEqual([
    "1 127.0.0.1/8 254",
    "2 10.9.0.1/24 0",
    "1 ::1/128 254",
    "2 fd09::1/64 0",
    "2 fe80::ff:fe00:1/64 253",
  ]);
});

test("routes", () => {
  const found = values("routes", decodeRoute).map((route) =>
    route === undefined
      ? ""
      : `${formatPrefix(route.destination)} dev ${String(route.index)} table ${route.table} type ${route.type}` +
        (route.gateway === undefined ? "" : ` via ${formatAddress(route.gateway)}`),
  );
  expect(found).toEqual([
    "0.0.0.0/0 dev 2 table 254 type 1 via 10.9.0.2",
    "10.9.0.0/24 dev 2 table 254 type 1",
    "10.9.0.1/32 dev 2 table 255 type 2",
    "10.9.0.255/32 dev 2 table 255 type 3",
    "127.0.0.0/8 dev 1 table 255 type 2",
    "127.0.0.1/32 dev 1 table 255 type 2",
    "127.255.255.255/32 dev 1 table 255 type 3",
    "fd09::/64 dev 2 table 254 type 1",
    "fe80::/64 dev 2 table 254 type 1",
    "::1/128 dev 1 table 255 type 2",
    "fd09::1/128 dev 2 table 255 type 2",
    "fe80::ff:fe00:1/128 dev 2 table 255 type 2",
    "ff00::/8 dev 2 table 255 type 5",
  ]);
});

test("conntrack entries", () => {
  const found = values("conntrack", decodeEntry).map((entry) => [
    flow(entry.original),
    flow(entry.reply),
    entry.mark,
    entry.status,
    entry.timeoutSeconds,
    entry.tcpState,
    entry.original.icmp,
  ]);
  expect(found).toEqual([
    ["6 fd09::1 5555 fd09::2 8080", "6 fd09::2 8080 fd09::1 5555", 0, 8, 299, "synSent", undefined],
    [
      "1 10.9.0.1 0 10.9.0.2 0",
      "1 10.9.0.2 0 10.9.0.1 0",
      0,
      10,
      299,
      undefined,
      { id: 77, type: 8, code: 0 },
    ],
    [
      "6 10.9.0.1 5555 10.9.0.2 8080",
      "6 10.9.0.2 8080 10.9.0.1 5555",
      0x5ab00539,
      12,
      299,
      "established",
      undefined,
    ],
  ]);
});

function flow({
  protocol,
  source,
  sourcePort,
  destination,
  destinationPort,
}: ConntrackEntry["original"]): string {
  return `${protocol} ${formatAddress(source)} ${sourcePort} ${formatAddress(destination)} ${destinationPort}`;
}

test("a tuple is asked for in the bytes that the kernel has for it", () => {
  for (const payload of payloads("conntrack")) {
    const entry = decodeEntry(payload);
    const writer = new MessageWriter();
    if (entry.ok) encodeRequest(writer, entry.value.original);
    const asked = Buffer.from(writer.written()).toString("hex");
    expect(asked).toBe(Buffer.from(payload).toString("hex").slice(0, asked.length));
    expect(asked.length).toBeGreaterThan(100);
  }
});

test("addresses of mixed or wrong length are refused", () => {
  const [v4, v6] = [parseAddress("10.0.0.1"), parseAddress("::1")] as [Uint8Array, Uint8Array];
  for (const [source, destination] of [
    [v4, v6],
    [v6, v4],
    [new Uint8Array(0), new Uint8Array(0)],
  ] as const) {
    const tuple = { protocol: 6, source, destination, sourcePort: 1, destinationPort: 2 };
    expect(() => encodeRequest(new MessageWriter(), tuple)).toThrow(RangeError);
  }
});

const decoders = [
  ["links", decodeLink],
  ["addresses", decodeAddress],
  ["routes", decodeRoute],
  ["conntrack", decodeEntry],
] as const;

for (const [name, decode] of decoders) {
  test(`${name}: every strict prefix within an attribute is refused`, () => {
    for (const payload of payloads(name)) {
      const refused = Array.from(payload, (_, length) => decode(payload.subarray(0, length)).ok).filter(
        (ok) => !ok,
      );
      expect(refused.length).toBeGreaterThan(payload.length / 2);
      expect(decode(payload.subarray(0, 11)).ok).toBe(false);
    }
  });

  test(`${name}: any byte changed to any other is decoded or refused`, () => {
    fc.assert(
      fc.property(fc.constantFrom(...payloads(name)), fc.nat(), fc.nat(255), (payload, where, value) => {
        const decoded: Decoded<unknown> = decode(payload.with(where % payload.length, value));
        if (!decoded.ok) expect(decoded.reason).not.toBe("");
      }),
      { numRuns: 2000 },
    );
  });
}
