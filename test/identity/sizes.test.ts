/** What an identity costs on the wire: tokens of 5, 10 and 20 labels, and the segments that carry them at MTU 1500. */
import { describe, expect, it } from "vitest";
import { cwtCodec } from "../../enforcer/identity/cwt.ts";
import { synAckLength, synLength } from "../../enforcer/handshake/messages.ts";
import type { Signer } from "../../enforcer/identity/identity.ts";
import type { Attributes } from "../../enforcer/policy/attributes.ts";
import { nodeSigner, nowMs, pskSigner, puId, trust } from "./fixtures.ts";

/** What a cluster has: a node, a namespace and a service account with names of usual length. */
const derived: [string, string[]][] = [
  ["@node", ["node-a"]],
  ["@ns", ["production"]],
  ["@sa", ["frontend-account"]],
];

/** Labels of 31 characters as `key=value`. `keyLength` 24 and more takes a longer head in CBOR: the worst case. */
function attributesWith(labels: number, keyLength: number): Attributes {
  const named = Array.from({ length: labels }, (_, index): [string, string[]] => {
    const key = `label-${String(index).padStart(2, "0")}`.padEnd(keyLength, "k");
    return [key, ["v".repeat(30 - keyLength)]];
  });
  for (const [key, [value = ""]] of named) expect(`${key}=${value}`).toHaveLength(31);
  return new Map([...derived, ...named]);
}

interface Sizes {
  readonly token: number;
  readonly certificate: number;
  /** Whole IPv4 packets, options for timestamps (20 bytes) and our marker (4) included. IPv6 has 20 more. */
  readonly syn: number;
  readonly synAck: number;
}

function measure(signer: Signer, attributes: Attributes): Sizes {
  const { bytes, certificates } = cwtCodec.minter(signer).mint({ puId, attributes }, nowMs);
  expect(cwtCodec.verifier(trust).verify(signer.suite, bytes, certificates, nowMs)).toMatchObject({
    ok: true,
  });
  const headers = 20 + 20 + 20 + 4;
  return {
    token: bytes.length,
    certificate: certificates[0]?.length ?? 0,
    syn: headers + synLength(bytes, certificates),
    synAck: headers + synAckLength(bytes, certificates),
  };
}

/** The payload with the lengths of PROTOCOL.md written out, so that this test doesn't believe the encoder. */
const identityLength = (sizes: Sizes): number =>
  2 + sizes.token + 1 + (sizes.certificate > 0 ? 2 + sizes.certificate : 0);
const synPayload = (sizes: Sizes): number => 8 + 1 + 1 + 1 + 2 + 2 + 2 + 16 + identityLength(sizes);
const synAckPayload = (sizes: Sizes): number =>
  8 + 1 + 1 + 1 + 2 + 2 + 16 + 18 + 18 + identityLength(sizes) + 16;

describe.each([
  ["suite 1", 15, 5, nodeSigner(), { token: 364, certificate: 173, syn: 639, synAck: 689 }],
  ["suite 1", 15, 10, nodeSigner(), { token: 524, certificate: 173, syn: 799, synAck: 849 }],
  ["suite 1", 15, 20, nodeSigner(), { token: 844, certificate: 173, syn: 1119, synAck: 1169 }],
  ["suite 1", 24, 20, nodeSigner(), { token: 864, certificate: 173, syn: 1139, synAck: 1189 }],
  ["suite 2", 15, 20, pskSigner(), { token: 794, certificate: 0, syn: 894, synAck: 944 }],
] satisfies [string, number, number, Signer, Sizes][])(
  "%s, keys of %i, %i labels",
  (_suite, keyLength, labels, signer, expected) => {
    const sizes = measure(signer, attributesWith(labels, keyLength));

    it("is as large as it says here", () => {
      expect(sizes).toEqual(expected);
    });

    it("is what the protocol adds up to", () => {
      expect(sizes.syn - 64).toBe(synPayload(sizes));
      expect(sizes.synAck - 64).toBe(synAckPayload(sizes));
    });

    it.each([
      ["IPv4", 0],
      ["IPv6", 20],
    ])("fits MTU 1500 in %s, with all 40 bytes of options", (_version, more) => {
      const fullOptions = 40 - 24;
      expect(sizes.syn + more + fullOptions).toBeLessThanOrEqual(1500);
      expect(sizes.synAck + more + fullOptions).toBeLessThanOrEqual(1500);
    });
  },
);

describe("the longest names", () => {
  it("fit too: trust domain, node, namespace and account of 63 bytes, in IPv6", () => {
    const name = "n".repeat(63);
    const attributes = new Map([...attributesWith(20, 15), ["@ns", [name]], ["@sa", [name]]]);
    const { synAck } = measure(nodeSigner(), attributes);
    const [nodeTwice, domainOnce] = [
      2 * (name.length - "node-a".length),
      name.length - "cluster.local".length,
    ];
    expect(synAck + 20 + nodeTwice + domainOnce + 4).toBeLessThanOrEqual(1500);
  });
});
