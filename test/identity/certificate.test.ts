/** Certificates: what a CA may say, and what of it is believed. */
import { p256 } from "@noble/curves/nist.js";
import { describe, expect, it } from "vitest";
import { encodeCertificateClaims } from "../../enforcer/identity/claims.ts";
import { cwtCodec } from "../../enforcer/identity/cwt.ts";
import { compressP256, keyId } from "../../enforcer/identity/keys.ts";
import { OperationError } from "../../enforcer/operation-error.ts";
import {
  authority,
  bitFlips,
  certify,
  makeSigningKey,
  mint,
  nodeKeys,
  nodeSigner,
  nowMs,
  nowSeconds,
  strictPrefixes,
  trust,
  trustDomain,
} from "./fixtures.ts";
import { encodeLoosely, forge } from "./forge.ts";

const own = mint(nodeSigner());
const claims = {
  trustDomain,
  node: "node-a",
  notBeforeSeconds: nowSeconds,
  expiresSeconds: nowSeconds + 600,
  publicKey: compressP256(nodeKeys["node-a"].publicKey),
  assert: ["*"],
};
const kid = Buffer.from(keyId(authority.publicKey), "hex");
const header = new Map<unknown, unknown>([
  [1, -7],
  [4, kid],
]);
const common = {
  header,
  payload: encodeCertificateClaims(claims),
  context: "trireme-cni certificate v1",
  key: authority.privateKey,
};

function reasonFor(certificate: Uint8Array): string {
  const result = cwtCodec.verifier(trust).verify(1, own.bytes, [certificate], nowMs);
  return result.ok ? "ok" : result.reason;
}

const withClaims = (changed: Partial<typeof claims>): Uint8Array =>
  forge({ ...common, payload: encodeCertificateClaims({ ...claims, ...changed }) });

/** No point of P-256 has x = 1: the second implementation agrees. */
const offCurve = Uint8Array.from([2, ...new Uint8Array(31), 1]);

describe("a certificate", () => {
  it("is refused as every strict prefix", () => {
    const certificate = certify("node-a");
    for (const prefix of strictPrefixes(certificate)) expect(reasonFor(prefix)).toBe("certificate-malformed");
  });

  it("is refused with any bit turned", () => {
    const verifier = cwtCodec.verifier(trust);
    for (const flipped of bitFlips(certify("node-a"))) {
      expect(verifier.verify(1, own.bytes, [flipped], nowMs).ok).toBe(false);
    }
  });

  it.each([
    ["what is right", {}, "ok"],
    [
      "alg none",
      {
        header: new Map<unknown, unknown>([
          [1, "none"],
          [4, kid],
        ]),
        key: undefined,
      },
      "certificate-algorithm",
    ],
    [
      "alg HMAC",
      {
        header: new Map<unknown, unknown>([
          [1, 5],
          [4, kid],
        ]),
        key: compressP256(authority.publicKey),
      },
      "certificate-algorithm",
    ],
    ["no kid", { header: new Map([[1, -7]]) }, "certificate-malformed"],
    [
      "a kid of 7 bytes",
      {
        header: new Map<unknown, unknown>([
          [1, -7],
          [4, kid.subarray(1)],
        ]),
      },
      "certificate-malformed",
    ],
    [
      "an unknown kid",
      {
        header: new Map<unknown, unknown>([
          [1, -7],
          [4, Buffer.alloc(8)],
        ]),
      },
      "ca-unknown",
    ],
    ["another key's signature", { key: makeSigningKey().privateKey }, "certificate-signature"],
    ["the node's signature", { key: nodeKeys["node-a"].privateKey }, "certificate-signature"],
    ["the context of tokens", { context: "trireme-cni token v1" }, "certificate-signature"],
    ["a zero signature", { key: undefined }, "certificate-signature"],
    ["no claims", { payload: encodeLoosely(new Map()) }, "certificate-malformed"],
  ])("with %s: %s", (_name, changed, reason) => {
    expect(reasonFor(forge({ ...common, ...changed }))).toBe(reason);
  });

  it.each([
    ["another trust domain", { trustDomain: "other.local" }, "certificate-trust-domain"],
    ["an empty trust domain", { trustDomain: "" }, "certificate-malformed"],
    ["an empty node", { node: "" }, "certificate-malformed"],
    ["a node with a line feed", { node: "node-a\n" }, "certificate-malformed"],
    ["another node", { node: "node-b" }, "token-attributes"],
    ["no pattern", { assert: [] }, "certificate-malformed"],
    ["a pattern for a key", { assert: ["*", "app=*"] }, "certificate-limits"],
    ["a pattern for any @node", { assert: ["@node=*"] }, "certificate-limits"],
    ["another node's pattern", { assert: ["*", "@node=node-b"] }, "certificate-limits"],
    ["both patterns", { assert: ["*", "@node=node-a"] }, "ok"],
    ["17 patterns", { assert: Array.from({ length: 17 }, () => "*") }, "certificate-malformed"],
    ["a key off the curve", { publicKey: offCurve }, "certificate-malformed"],
    ["a short key", { publicKey: new Uint8Array(32) }, "certificate-malformed"],
  ])("that says %s: %s", (_name, changed, reason) => {
    expect(reasonFor(withClaims(changed))).toBe(reason);
  });

  it("with another claim is refused", () => {
    const payload = new Map<number, unknown>([
      [1, trustDomain],
      [2, "node-a"],
      [3, "x"],
    ]);
    expect(reasonFor(forge({ ...common, payload: encodeLoosely(payload) }))).toBe("certificate-malformed");
  });
});

it("the point off the curve is off it for the second implementation too", () => {
  expect(() => p256.Point.fromBytes(offCurve)).toThrow();
});

describe("making a certificate", () => {
  it.each([
    ["a pattern that nobody checks", { assert: ["app=web"] }],
    ["another node's pattern", { assert: ["@node=node-b"] }],
    ["no pattern", { assert: [] }],
    ["an empty trust domain", { trustDomain: "" }],
    ["a trust domain of 254 bytes", { trustDomain: "x".repeat(254) }],
    ["no time at all", { expiresSeconds: nowSeconds - 60 }],
  ])("is refused for %s", (_name, options) => {
    expect(() => certify("node-a", options)).toThrow(OperationError);
  });
});
