/** Tokens: minted and verified, at the edges of every limit, and against everyone who forges. */
import { createSecretKey, hash } from "node:crypto";
import { MessageChannel, receiveMessageOnPort } from "node:worker_threads";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeTokenClaims, type TokenClaims } from "../../enforcer/identity/claims.ts";
import { cwtCodec } from "../../enforcer/identity/cwt.ts";
import type { OwnToken, Suite, TrustSnapshot, VerifyResult } from "../../enforcer/identity/identity.ts";
import { compressP256, keyId, rawX25519, thumbprint } from "../../enforcer/identity/keys.ts";
import { OperationError } from "../../enforcer/operation-error.ts";
import {
  attributesOf,
  authority,
  bitFlips,
  certify,
  makeSigningKey,
  minuteMs,
  mint,
  nodeKeys,
  nodeSigner,
  nowMs,
  nowSeconds,
  otherAuthority,
  pskA,
  pskB,
  pskSigner,
  puId,
  signerOf,
  strictPrefixes,
  trust,
  trustDomain,
  web,
} from "./fixtures.ts";
import { encodeLoosely, forge } from "./forge.ts";

const suites = [1, 2] as const;
const tokenContext = "trireme-cni token v1";
const certificateContext = "trireme-cni certificate v1";
const es256 = new Map([[1, -7]]);

function verify(
  suite: Suite,
  token: Uint8Array,
  certificates: readonly Uint8Array[],
  { atMs = nowMs, by = trust }: { atMs?: number; by?: TrustSnapshot } = {},
): VerifyResult {
  return cwtCodec.verifier(by).verify(suite, token, certificates, atMs);
}

const reasonOf = (result: VerifyResult): string => (result.ok ? "ok" : result.reason);

const claims: TokenClaims = {
  puId,
  issuedSeconds: nowSeconds,
  expiresSeconds: nowSeconds + 600,
  attributes: attributesOf("node-a", web),
  publicKey: new Uint8Array(32).fill(9),
  trustDomain: undefined,
};

/** A token with these claims that the node really signed. */
function signed(changed: Partial<TokenClaims>): Uint8Array {
  const payload = encodeTokenClaims({ ...claims, ...changed });
  return forge({ header: es256, payload, context: tokenContext, key: nodeKeys["node-a"].privateKey });
}

describe.each(suites)("suite %i", (suite) => {
  it("verifies what it minted, and says who it is", () => {
    const own = mint(signerOf(suite));
    const result = verify(suite, own.bytes, own.certificates);
    expect(result).toEqual({
      ok: true,
      identity: {
        suite,
        tokenHash: new Uint8Array(hash("sha256", own.bytes, "buffer")),
        puId,
        attributes: attributesOf("node-a", web),
        trustDomain,
        node: "node-a",
        pskId: suite === 2 ? pskA.id : undefined,
        authorityId: suite === 1 ? keyId(authority.publicKey) : undefined,
        publicKey: result.ok ? result.identity.publicKey : undefined,
        notBeforeMs: nowMs - minuteMs,
        expiresAtMs: nowMs + 11 * minuteMs,
      },
    });
    expect(result.ok && result.identity.tokenHash).toEqual(own.hash);
    expect(own.privateKey?.asymmetricKeyType).toBe(suite === 1 ? "x25519" : undefined);
    if (result.ok && result.identity.publicKey && own.privateKey) {
      expect(rawX25519(result.identity.publicKey)).toEqual(rawX25519(own.privateKey));
    }
  });

  it("gives attributes with their keys in order", () => {
    const own = mint(signerOf(suite), nowMs, {
      zebra: ["1"],
      a: ["2"],
      "@sa": ["x"],
      "much-longer-key-than-others": [""],
    });
    const result = verify(suite, own.bytes, own.certificates);
    const keys = result.ok ? [...result.identity.attributes.keys()] : [];
    expect(keys).toEqual(["@node", "@sa", "a", "much-longer-key-than-others", "zebra"]);
  });

  it("survives the way to another thread, key included", () => {
    const own = mint(signerOf(suite));
    const { port1, port2 } = new MessageChannel();
    port1.postMessage(own);
    const { message } = receiveMessageOnPort(port2) as { message: OwnToken };
    port1.close();
    expect(reasonOf(verify(suite, message.bytes, message.certificates))).toBe("ok");
    expect(message.privateKey && rawX25519(message.privateKey)).toEqual(
      own.privateKey && rawX25519(own.privateKey),
    );
    expect([...message.attributes]).toEqual([...own.attributes]);
    expect(own.bytes.byteLength).toBe(own.bytes.buffer.byteLength);
  });

  it("refuses every strict prefix of a token", () => {
    const own = mint(signerOf(suite));
    for (const prefix of strictPrefixes(own.bytes)) {
      expect(reasonOf(verify(suite, prefix, own.certificates))).toBe("token-malformed");
    }
  });

  it("refuses a token with any bit turned", () => {
    const own = mint(signerOf(suite), nowMs, { app: ["web"] });
    const verifier = cwtCodec.verifier(trust);
    for (const flipped of bitFlips(own.bytes)) {
      expect(verifier.verify(suite, flipped, own.certificates, nowMs).ok).toBe(false);
    }
  });

  it("refuses a token followed by anything", () => {
    const own = mint(signerOf(suite));
    const longer = Buffer.concat([own.bytes, Buffer.from([0])]);
    expect(reasonOf(verify(suite, longer, own.certificates))).toBe("token-malformed");
  });

  it.each([
    ["a minute early", -minuteMs, "ok"],
    ["a minute and a millisecond early", -minuteMs - 1, "token-not-yet-valid"],
    ["just before its end and a minute", 11 * minuteMs - 1, "ok"],
    ["at its end and a minute", 11 * minuteMs, "token-expired"],
    ["a year late", 525_600 * minuteMs, "token-expired"],
  ])("seen %s: %s", (_name, laterMs, reason) => {
    const own = mint(signerOf(suite));
    expect(reasonOf(verify(suite, own.bytes, own.certificates, { atMs: nowMs + laterMs }))).toBe(reason);
  });

  it("names both clocks where times are the cause", () => {
    const own = mint(signerOf(suite));
    const late = verify(suite, own.bytes, own.certificates, { atMs: nowMs + 20 * minuteMs });
    const early = verify(suite, own.bytes, own.certificates, { atMs: nowMs - 5 * minuteMs });
    expect(late).toMatchObject({ detail: expect.stringMatching(/08:10:00.*08:20:00.*60 s/) as string });
    expect(early).toMatchObject({ detail: expect.stringMatching(/08:00:00.*07:55:00.*60 s/) as string });
    expect(early).toMatchObject({ retryAtMs: nowMs - minuteMs });
  });

  it("refuses a token that lives longer than is allowed", () => {
    const own = mint({ ...signerOf(suite), tokenLifetimeMs: 61 * minuteMs });
    expect(reasonOf(verify(suite, own.bytes, own.certificates))).toBe("token-lifetime");
  });

  it("refuses another trust domain", () => {
    const own = mint(signerOf(suite));
    const by = { ...trust, trustDomain: "other.local" };
    const reason = suite === 1 ? "certificate-trust-domain" : "token-trust-domain";
    expect(reasonOf(verify(suite, own.bytes, own.certificates, { by }))).toBe(reason);
  });

  it("is not fooled by a token of the other suite", () => {
    const own = mint(signerOf(suite));
    const other = suite === 1 ? 2 : 1;
    expect(reasonOf(verify(other, own.bytes, own.certificates))).toBe("token-algorithm");
    expect(reasonOf(verify(other, own.bytes, [certify("node-a")]))).toBe("token-algorithm");
  });

  it("gives each token a key or at least bytes of its own", () => {
    const [first, second] = [mint(signerOf(suite)), mint(signerOf(suite), nowMs + 1000)];
    expect(first.hash).not.toEqual(second.hash);
  });
});

describe("any bytes", () => {
  it("are refused, and nothing is thrown", () => {
    const verifier = cwtCodec.verifier(trust);
    const bytes = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(
        fc.constantFrom(...suites),
        bytes,
        fc.array(bytes, { maxLength: 2 }),
        (suite, token, certificates) => {
          expect(verifier.verify(suite, token, certificates, nowMs).ok).toBe(false);
        },
      ),
    );
  });
});

const text = fc
  .string({ unit: "grapheme", minLength: 1, maxLength: 40 })
  .filter((one) => !/[\p{Cc}=]/u.test(one));
const labels = fc.dictionary(
  text.filter((one) => !one.startsWith("@")),
  fc.uniqueArray(text, { minLength: 1, maxLength: 4 }).map((values) => values.sort()),
  { maxKeys: 10 },
);

describe("any attributes", () => {
  it("come back as they were", () => {
    const verifier = cwtCodec.verifier(trust);
    fc.assert(
      fc.property(labels, (more) => {
        const own = mint(pskSigner(), nowMs, more);
        const result = verifier.verify(2, own.bytes, own.certificates, nowMs);
        expect(result.ok && [...result.identity.attributes]).toEqual([...attributesOf("node-a", more)]);
      }),
    );
  });
});

describe("certificates beside a token", () => {
  const own = mint(nodeSigner());

  it.each([
    ["none", [], "certificate-missing"],
    ["two", [certify("node-a"), certify("node-a")], "certificate-unexpected"],
    ["no bytes", [new Uint8Array()], "certificate-malformed"],
    ["too many bytes", [new Uint8Array(70_000)], "certificate-malformed"],
    ["a token", [own.bytes], "certificate-malformed"],
    ["another node's", [certify("node-b")], "token-attributes"],
    ["another CA's", [certify("node-a", { by: otherAuthority })], "ca-unknown"],
    [
      "one of another trust domain",
      [certify("node-a", { trustDomain: "other.local" })],
      "certificate-trust-domain",
    ],
    ["one for another key", [certify("node-a", { key: makeSigningKey() })], "token-signature"],
    [
      "one that has ended",
      [certify("node-a", { notBeforeSeconds: 1, expiresSeconds: nowSeconds - 60 })],
      "certificate-expired",
    ],
    ["one that ends now", [certify("node-a", { expiresSeconds: nowSeconds })], "ok"],
    [
      "one that begins later",
      [certify("node-a", { notBeforeSeconds: nowSeconds + 61 })],
      "certificate-not-yet-valid",
    ],
    ["one that begins a minute later", [certify("node-a", { notBeforeSeconds: nowSeconds + 60 })], "ok"],
    ["one that asserts its node only", [certify("node-a", { assert: ["@node=node-a"] })], "token-attributes"],
  ])("%s: %s", (_name, certificates, reason) => {
    expect(reasonOf(verify(1, own.bytes, certificates))).toBe(reason);
  });

  it("let a token that says no more than its node pass for the pattern @node", () => {
    const bare = mint(nodeSigner(), nowMs, {});
    expect(reasonOf(verify(1, bare.bytes, [certify("node-a", { assert: ["@node=node-a"] })]))).toBe("ok");
  });

  it("end the identity that rests on them", () => {
    const certificate = certify("node-a", {
      notBeforeSeconds: nowSeconds + 30,
      expiresSeconds: nowSeconds + 90,
    });
    const result = verify(1, own.bytes, [certificate]);
    expect(result).toMatchObject({ identity: { notBeforeMs: nowMs - 30_000, expiresAtMs: nowMs + 150_000 } });
  });

  it("are remembered, and their times judged anew", () => {
    const verifier = cwtCodec.verifier(trust);
    const certificates = [certify("node-a", { expiresSeconds: nowSeconds + 90 })];
    expect(reasonOf(verifier.verify(1, own.bytes, certificates, nowMs))).toBe("ok");
    expect(reasonOf(verifier.verify(1, own.bytes, certificates, nowMs + 150_000))).toBe(
      "certificate-expired",
    );
  });

  it("have no place in suite 2", () => {
    const shared = mint(pskSigner());
    expect(reasonOf(verify(2, shared.bytes, [certify("node-a")]))).toBe("certificate-unexpected");
  });
});

describe("forged tokens", () => {
  const certificate = certify("node-a");
  const payload = encodeTokenClaims(claims);
  const key = nodeKeys["node-a"].privateKey;
  const publicBytes = compressP256(nodeKeys["node-a"].publicKey);
  const publicJwk = Buffer.from(JSON.stringify(nodeKeys["node-a"].publicKey.export({ format: "jwk" })));
  const kid = thumbprint(nodeKeys["node-a"].publicKey).subarray(0, 8);
  const common = { header: es256, payload, context: tokenContext, key };

  it("are no artefact of these tools", () => {
    expect(reasonOf(verify(1, forge(common), [certificate]))).toBe("ok");
  });

  it.each([
    ["alg none, as text", { ...common, header: new Map([[1, "none"]]), key: undefined }, "token-algorithm"],
    ["alg 0", { ...common, header: new Map([[1, 0]]), key: undefined }, "token-algorithm"],
    ["no alg", { ...common, header: new Map() }, "token-malformed"],
    ["alg EdDSA over a right signature", { ...common, header: new Map([[1, -8]]) }, "token-algorithm"],
    [
      "alg HMAC, keyed with the public key",
      { ...common, header: new Map([[1, 5]]), key: publicBytes },
      "token-algorithm",
    ],
    [
      "alg HMAC, keyed with the public JWK",
      { ...common, header: new Map([[1, 5]]), key: publicJwk },
      "token-algorithm",
    ],
    ["alg ES256 over a MAC", { ...common, key: publicBytes }, "token-signature"],
    ["a signature of zeros", { ...common, key: undefined }, "token-signature"],
    ["another key's signature", { ...common, key: makeSigningKey().privateKey }, "token-signature"],
    ["the CA's signature", { ...common, key: authority.privateKey }, "token-signature"],
    ["the context of certificates", { ...common, context: certificateContext }, "token-signature"],
    ["no context", { ...common, context: "" }, "token-signature"],
    [
      "a kid",
      {
        ...common,
        header: new Map<unknown, unknown>([
          [1, -7],
          [4, kid],
        ]),
      },
      "token-malformed",
    ],
    [
      "a crit header",
      {
        ...common,
        header: new Map<unknown, unknown>([
          [1, -7],
          [2, [4]],
        ]),
      },
      "token-malformed",
    ],
    [
      "an unknown header",
      {
        ...common,
        header: new Map<unknown, unknown>([
          [1, -7],
          ["x", 1],
        ]),
      },
      "token-malformed",
    ],
  ])("%s: %s", (_name, forgery, reason) => {
    expect(reasonOf(verify(1, forge(forgery), [certificate]))).toBe(reason);
  });

  it("with an unprotected header are refused", () => {
    const token = mint(nodeSigner());
    const parts = forge(common);
    expect(parts[5]).toBe(0xa0);
    const altered = Buffer.concat([
      parts.subarray(0, 5),
      encodeLoosely(new Map([[1, -7]])),
      parts.subarray(6),
    ]);
    expect(reasonOf(verify(1, altered, token.certificates))).toBe("token-malformed");
  });

  it("that are really a certificate are refused, whatever signs", () => {
    expect(reasonOf(verify(1, certificate, [certificate]))).toBe("token-malformed");
    expect(reasonOf(verify(1, certify("node-a", { by: nodeKeys["node-a"] }), [certificate]))).toBe(
      "token-malformed",
    );
  });

  it("under a CA's certificate made by the node itself are refused", () => {
    const self = certify("node-a", { by: nodeKeys["node-a"] });
    expect(reasonOf(verify(1, forge(common), [self]))).toBe("ca-unknown");
  });

  it.each([
    [
      "alg ES256 over the MAC",
      {
        header: new Map<unknown, unknown>([
          [1, -7],
          [4, Buffer.from(pskA.id, "hex")],
        ]),
        key: pskA.tokenKey,
      },
      "token-algorithm",
    ],
    ["no kid", { header: new Map([[1, 5]]), key: pskA.tokenKey }, "token-malformed"],
    [
      "the kid of another PSK",
      {
        header: new Map<unknown, unknown>([
          [1, 5],
          [4, Buffer.from(pskB.id, "hex")],
        ]),
        key: pskA.tokenKey,
      },
      "token-signature",
    ],
    [
      "an unknown kid",
      {
        header: new Map<unknown, unknown>([
          [1, 5],
          [4, Buffer.alloc(8)],
        ]),
        key: pskA.tokenKey,
      },
      "psk-unknown",
    ],
    [
      "the PSK itself as key",
      {
        header: new Map<unknown, unknown>([
          [1, 5],
          [4, Buffer.from(pskA.id, "hex")],
        ]),
        key: pskA.secret,
      },
      "token-signature",
    ],
    [
      "zeros as key",
      {
        header: new Map<unknown, unknown>([
          [1, 5],
          [4, Buffer.from(pskA.id, "hex")],
        ]),
        key: createSecretKey(Buffer.alloc(32)),
      },
      "token-signature",
    ],
    [
      "what is right",
      {
        header: new Map<unknown, unknown>([
          [1, 5],
          [4, Buffer.from(pskA.id, "hex")],
        ]),
        key: pskA.tokenKey,
      },
      "ok",
    ],
  ])("in suite 2 with %s: %s", (_name, { header, key: macKey }, reason) => {
    const shared = encodeTokenClaims({ ...claims, publicKey: undefined, trustDomain });
    const token = forge({ header, payload: shared, context: tokenContext, key: macKey });
    expect(reasonOf(verify(2, token, []))).toBe(reason);
  });
});

const long = (length: number): string => "x".repeat(length);
const many = (count: number): Record<string, readonly string[]> =>
  Object.fromEntries(
    Array.from({ length: count }, (_, index) => [`k${String(index).padStart(3, "0")}`, [""]]),
  );

describe("limits, at both ends", () => {
  it.each([
    ["64 attributes", many(63), "ok"],
    ["65 attributes", many(64), "token-malformed"],
    ["a key of 317 bytes", { [long(317)]: ["1"] }, "ok"],
    ["a key of 318 bytes", { [long(318)]: ["1"] }, "token-malformed"],
    ["a value of 255 bytes", { a: [long(255)] }, "ok"],
    ["a value of 256 bytes", { a: [long(256)] }, "token-malformed"],
    ["a value of 128 two-byte characters", { a: ["é".repeat(128)] }, "token-malformed"],
    ["an empty key", { "": ["1"] }, "token-malformed"],
    ["an empty value", { a: [""] }, "ok"],
    ["a key with =", { "a=b": ["1"] }, "token-malformed"],
    ["a line feed in a value", { a: ["x\ny"] }, "token-malformed"],
    ["an escape in a key", { "\u001b[2J": ["x"] }, "token-malformed"],
    ["an unknown key of ours", { "@image": ["x"] }, "token-malformed"],
    ["16 values", { a: Array.from({ length: 16 }, (_, i) => String.fromCharCode(97 + i)) }, "ok"],
    [
      "17 values",
      { a: Array.from({ length: 17 }, (_, i) => String.fromCharCode(97 + i)) },
      "token-malformed",
    ],
    ["no value", { a: [] }, "token-malformed"],
    ["values out of order", { a: ["2", "1"] }, "token-malformed"],
    ["a value twice", { a: ["1", "1"] }, "token-malformed"],
    ["another @node", { "@node": ["node-b"] }, "token-attributes"],
    ["two @node", { "@node": ["node-a", "node-b"] }, "token-attributes"],
  ])("%s: %s", (_name, more, reason) => {
    const attributes = attributesOf("node-a", more);
    expect(reasonOf(verify(1, signed({ attributes }), [certify("node-a")]))).toBe(reason);
    const minting = (): unknown => cwtCodec.minter(nodeSigner()).mint({ puId, attributes }, nowMs);
    if (reason === "ok") expect(minting()).toBeDefined();
    else expect(minting).toThrow(OperationError);
  });

  it.each([
    ["no @node", { attributes: new Map([["app", ["web"]]]) }, "token-attributes"],
    ["a short key", { publicKey: new Uint8Array(31) }, "token-malformed"],
    ["a long key", { publicKey: new Uint8Array(33) }, "token-malformed"],
    ["no key", { publicKey: undefined }, "token-malformed"],
    ["a trust domain beside the certificate's", { trustDomain }, "token-malformed"],
    ["an id in capitals", { puId: "0123456789ABCDEF" }, "token-malformed"],
    ["a short id", { puId: "0123" }, "token-malformed"],
    ["no lifetime", { expiresSeconds: nowSeconds }, "token-lifetime"],
    ["an end before its start", { expiresSeconds: nowSeconds - 1 }, "token-lifetime"],
    ["the longest lifetime", { expiresSeconds: nowSeconds + 3600 }, "ok"],
    ["a longer lifetime", { expiresSeconds: nowSeconds + 3601 }, "token-lifetime"],
    ["times before 1970", { issuedSeconds: -1 }, "token-malformed"],
    [
      "times after 9999",
      { issuedSeconds: 253_402_300_800, expiresSeconds: 253_402_300_801 },
      "token-malformed",
    ],
    [
      "times of the year 9999",
      { issuedSeconds: 253_402_300_798, expiresSeconds: 253_402_300_799 },
      "token-not-yet-valid",
    ],
    ["a time with a fraction", { issuedSeconds: nowSeconds + 0.5 }, "token-malformed"],
  ])("%s: %s", (_name, changed, reason) => {
    expect(reasonOf(verify(1, signed(changed), [certify("node-a")]))).toBe(reason);
  });

  it("a single value as an array is another form of the same, and refused", () => {
    const payload = encodeLoosely(
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
                [-2, new Uint8Array(32)],
              ]),
            ],
          ]),
        ],
        [-65537, new Map<string, unknown>([["@node", ["node-a"]]])],
      ]),
    );
    const token = forge({
      header: es256,
      payload,
      context: tokenContext,
      key: nodeKeys["node-a"].privateKey,
    });
    expect(reasonOf(verify(1, token, [certify("node-a")]))).toBe("token-malformed");
  });
});

describe("the minter", () => {
  it("lets no token outlive the certificate", () => {
    const own = mint({ ...nodeSigner(), certificateExpiresAtMs: nowMs + 90_500 });
    expect(own.expiresAtMs).toBe(nowMs + 90_000);
  });

  it("says so when the certificate has ended", () => {
    const minting = (): unknown => mint({ ...nodeSigner(), certificateExpiresAtMs: nowMs });
    expect(minting).toThrow(expect.objectContaining({ code: "keys-invalid" }) as Error);
  });

  it("makes a fresh key for each token", () => {
    const keys = [mint(nodeSigner()), mint(nodeSigner())].map(
      ({ privateKey }) => privateKey && rawX25519(privateKey),
    );
    expect(keys[0]).not.toEqual(keys[1]);
  });
});
