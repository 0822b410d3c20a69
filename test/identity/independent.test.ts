/** What we mint holds for an implementation that shares no code with us, and what it makes holds for us. */
import { describe, expect, it } from "vitest";
import { cwtCodec } from "../../enforcer/identity/cwt.ts";
import { compressP256, keyId, rawX25519 } from "../../enforcer/identity/keys.ts";
import type { KeyMaterial, PairKeys } from "../../enforcer/identity/identity.ts";
import { IdentityCache } from "../../enforcer/identity/verifier.ts";
import {
  authority,
  certify,
  makeSigningKey,
  mint,
  nodeKeys,
  nodeSigner,
  nowMs,
  nowSeconds,
  pskA,
  pskSigner,
  puId,
  trust,
  trustDomain,
} from "./fixtures.ts";
import { agree, macHolds, partsOf, read, signAgain, signatureHolds } from "./second-implementation.ts";

const tokenContext = "trireme-cni token v1";
const certificateContext = "trireme-cni certificate v1";

const jwkMember = (key: { export(options: { format: "jwk" }): object }, name: string): Uint8Array => {
  const jwk = key.export({ format: "jwk" }) as Record<string, string>;
  return Buffer.from(jwk[name] ?? "", "base64url");
};

describe("a certificate, read by the second implementation", () => {
  const certificate = certify("node-a", { assert: ["*", "@node=node-a"] });

  it("says what was asked for", () => {
    const { protectedHeader, payload } = partsOf(certificate);
    const kid = new Uint8Array(Buffer.from(keyId(authority.publicKey), "hex"));
    expect(read(protectedHeader)).toEqual(
      new Map<unknown, unknown>([
        [1, -7],
        [4, kid],
      ]),
    );
    const key = new Map<number, unknown>([
      [1, 2],
      [-1, 1],
      [-2, new Uint8Array(jwkMember(nodeKeys["node-a"].publicKey, "x"))],
      [-3, compressP256(nodeKeys["node-a"].publicKey)[0] === 3],
    ]);
    expect(read(payload)).toEqual(
      new Map<number, unknown>([
        [1, trustDomain],
        [2, "node-a"],
        [4, nowSeconds + 86_400],
        [5, nowSeconds - 60],
        [8, new Map([[1, key]])],
        [-65538, ["*", "@node=node-a"]],
      ]),
    );
  });

  it("is signed by the CA, in its own context only", () => {
    const point = compressP256(authority.publicKey);
    expect(signatureHolds(certificate, certificateContext, point)).toBe(true);
    expect(signatureHolds(certificate, tokenContext, point)).toBe(false);
    expect(signatureHolds(certificate, certificateContext, compressP256(makeSigningKey().publicKey))).toBe(
      false,
    );
  });

  it("holds for us when the second implementation signs it", () => {
    const again = signAgain(certificate, certificateContext, jwkMember(authority.privateKey, "d"), false);
    const own = mint(nodeSigner());
    expect(cwtCodec.verifier(trust).verify(1, own.bytes, [again], nowMs).ok).toBe(true);
  });
});

describe("a token, read by the second implementation", () => {
  it("says who it is and with which key", () => {
    const own = mint(nodeSigner());
    const { protectedHeader, payload } = partsOf(own.bytes);
    expect(read(protectedHeader)).toEqual(new Map([[1, -7]]));
    const x = own.privateKey && rawX25519(own.privateKey);
    expect(read(payload)).toEqual(
      new Map<number, unknown>([
        [2, puId],
        [4, nowSeconds + 600],
        [6, nowSeconds],
        [
          8,
          new Map([
            [
              1,
              new Map<number, unknown>([
                [1, 1],
                [-1, 4],
                [-2, x],
              ]),
            ],
          ]),
        ],
        [
          -65537,
          new Map<string, unknown>([
            ["@node", "node-a"],
            ["@ns", "shop"],
            ["app", "web"],
            ["tier", ["back", "front"]],
          ]),
        ],
      ]),
    );
  });

  it("is signed by the node", () => {
    const own = mint(nodeSigner());
    expect(signatureHolds(own.bytes, tokenContext, compressP256(nodeKeys["node-a"].publicKey))).toBe(true);
    expect(signatureHolds(own.bytes, certificateContext, compressP256(nodeKeys["node-a"].publicKey))).toBe(
      false,
    );
  });

  it.each([false, true])("holds for us when the second implementation signs it (high s: %s)", (highS) => {
    const own = mint(nodeSigner());
    const again = signAgain(own.bytes, tokenContext, jwkMember(nodeKeys["node-a"].privateKey, "d"), highS);
    expect(cwtCodec.verifier(trust).verify(1, again, own.certificates, nowMs).ok).toBe(true);
  });

  it("in suite 2 has the PSK's MAC and id, and the trust domain", () => {
    const own = mint(pskSigner());
    const { protectedHeader, payload } = partsOf(own.bytes);
    const kid = new Uint8Array(Buffer.from(pskA.id, "hex"));
    expect(read(protectedHeader)).toEqual(
      new Map<unknown, unknown>([
        [1, 5],
        [4, kid],
      ]),
    );
    expect((read(payload) as Map<number, unknown>).get(1)).toBe(trustDomain);
    expect((read(payload) as Map<number, unknown>).has(8)).toBe(false);
    expect(macHolds(own.bytes, tokenContext, new Uint8Array(32).fill(0xa5))).toBe(true);
    expect(macHolds(own.bytes, tokenContext, new Uint8Array(32).fill(0x5b))).toBe(false);
    expect(macHolds(own.bytes, certificateContext, new Uint8Array(32).fill(0xa5))).toBe(false);
  });
});

describe("the agreement", () => {
  it("is what the second implementation computes from either side", () => {
    const materials: KeyMaterial[] = [];
    const derive = (material: KeyMaterial): PairKeys => {
      materials.push(material);
      return { kS: material.secret, kC: material.secret, kExport: material.secret };
    };
    const cache = new IdentityCache({ codec: cwtCodec, trust, derive });
    const [own, other] = [mint(nodeSigner()), mint(nodeSigner("node-b"))];
    const peer = cache.verify(1, other.bytes, other.certificates, nowMs);
    if (!peer.ok || !own.privateKey || !other.privateKey) throw new Error("no keys");
    cache.agree(own, peer.identity, "client");
    const ours = materials[0]?.secret.export();
    expect(ours).toEqual(Buffer.from(agree(jwkMember(own.privateKey, "d"), rawX25519(other.privateKey))));
    expect(ours).toEqual(Buffer.from(agree(jwkMember(other.privateKey, "d"), rawX25519(own.privateKey))));
  });
});
