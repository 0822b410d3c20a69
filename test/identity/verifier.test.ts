/** The cache: what it answers, when it forgets, how large it gets, and who can agree with whom. */
import { createHmac, createPublicKey } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeTokenClaims } from "../../enforcer/identity/claims.ts";
import { cwtCodec } from "../../enforcer/identity/cwt.ts";
import type {
  KeyMaterial,
  OwnToken,
  PairKeys,
  Signer,
  TokenCodec,
  VerifiedIdentity,
} from "../../enforcer/identity/identity.ts";
import { rawX25519 } from "../../enforcer/identity/keys.ts";
import { IdentityCache, type IdentityCacheLimits } from "../../enforcer/identity/verifier.ts";
import {
  attributesOf,
  bitFlips,
  certify,
  minuteMs,
  mint,
  nodeKeys,
  nodeSigner,
  nowMs,
  nowSeconds,
  pskA,
  pskB,
  pskSigner,
  puId,
  signerOf,
  trust,
} from "./fixtures.ts";
import { forge } from "./forge.ts";

/** Not the protocol's key schedule, but as sensitive to each input. */
function derive(material: KeyMaterial): PairKeys {
  const { suite, secret, clientTrustDomain, serverTrustDomain, clientTokenHash, serverTokenHash } = material;
  const key = (role: string): Buffer =>
    createHmac("sha256", secret)
      .update(JSON.stringify([suite, role, clientTrustDomain, serverTrustDomain]))
      .update(clientTokenHash)
      .update(serverTokenHash)
      .digest();
  return { kS: key("S"), kC: key("C"), kExport: key("X") };
}

/** Counts what a cache is there to save. */
function makeCache(limits: Partial<IdentityCacheLimits> = {}, by = trust) {
  const count = { verifications: 0, derivations: 0 };
  const codec: TokenCodec = {
    ...cwtCodec,
    verifier: (trusted) => {
      const verifier = cwtCodec.verifier(trusted);
      return {
        verify: (...evidence) => {
          count.verifications++;
          return verifier.verify(...evidence);
        },
      };
    },
  };
  const counted = (material: KeyMaterial): PairKeys => {
    count.derivations++;
    return derive(material);
  };
  return { cache: new IdentityCache({ codec, trust: by, derive: counted, limits }), count };
}

function identify(cache: IdentityCache, own: OwnToken, atMs = nowMs): VerifiedIdentity {
  const result = cache.verify(own.suite, own.bytes, own.certificates, atMs);
  if (!result.ok) throw new Error(result.detail);
  return result.identity;
}

describe.each([1, 2] as const)("tokens of suite %i", (suite) => {
  const own = mint(signerOf(suite));

  it("are verified once", () => {
    const { cache, count } = makeCache();
    expect(cache.lookup(suite, own.bytes, own.certificates, nowMs)).toBeUndefined();
    const first = cache.verify(suite, own.bytes, own.certificates, nowMs);
    expect(cache.verify(suite, own.bytes, own.certificates, nowMs)).toBe(first);
    expect(cache.lookup(suite, Buffer.from(own.bytes), own.certificates, nowMs)).toBe(first);
    expect(count.verifications).toBe(1);
  });

  it("are found by every bit of token and certificates", () => {
    const { cache } = makeCache();
    cache.verify(suite, own.bytes, own.certificates, nowMs);
    for (const flipped of bitFlips(own.bytes)) {
      expect(cache.lookup(suite, flipped, own.certificates, nowMs)).toBeUndefined();
    }
    for (const flipped of bitFlips(own.certificates[0] ?? new Uint8Array())) {
      expect(cache.lookup(suite, own.bytes, [flipped], nowMs)).toBeUndefined();
    }
    expect(cache.lookup(suite === 1 ? 2 : 1, own.bytes, own.certificates, nowMs)).toBeUndefined();
  });

  it("leave when they expire, also without being swept", () => {
    const { cache } = makeCache();
    const { expiresAtMs } = identify(cache, own);
    expect(cache.lookup(suite, own.bytes, own.certificates, expiresAtMs - 1)).toMatchObject({ ok: true });
    expect(cache.lookup(suite, own.bytes, own.certificates, expiresAtMs)).toBeUndefined();
    expect(cache.verify(suite, own.bytes, own.certificates, expiresAtMs)).toMatchObject({
      reason: "token-expired",
    });
    expect(cache.sizes()).toEqual({ verified: 0, refused: 1, pairs: 0 });
  });

  it("don't count when the clock has gone back before them", () => {
    const { cache } = makeCache();
    const { notBeforeMs } = identify(cache, own);
    expect(cache.lookup(suite, own.bytes, own.certificates, notBeforeMs - 1)).toBeUndefined();
  });

  it("share nothing with the packet they came in", () => {
    const { cache } = makeCache();
    const packet = Buffer.from(own.bytes);
    const before = cache.verify(suite, packet, own.certificates, nowMs);
    const text = JSON.stringify(
      before.ok && [before.identity.attributes.get("app"), [...before.identity.tokenHash]],
    );
    packet.fill(0);
    const after = cache.lookup(suite, own.bytes, own.certificates, nowMs);
    expect(
      JSON.stringify(after?.ok && [after.identity.attributes.get("app"), [...after.identity.tokenHash]]),
    ).toBe(text);
  });
});

describe("the boundary between token and certificates", () => {
  it("is part of the name", () => {
    const { cache } = makeCache();
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 40 }), fc.nat(), (bytes, at) => {
        const cut = 1 + (at % (bytes.length - 1));
        cache.verify(1, bytes, [], nowMs);
        expect(cache.lookup(1, bytes.subarray(0, cut), [bytes.subarray(cut)], nowMs)).toBeUndefined();
      }),
    );
  });
});

describe("refusals", () => {
  const own = mint(nodeSigner());
  const bad = Uint8Array.from(own.bytes).fill(0, -8);

  it("are remembered for a minute", () => {
    const { cache, count } = makeCache();
    expect(cache.verify(1, bad, own.certificates, nowMs)).toMatchObject({ reason: "token-signature" });
    expect(cache.lookup(1, bad, own.certificates, nowMs + minuteMs - 1)).toMatchObject({
      reason: "token-signature",
    });
    expect(count.verifications).toBe(1);
    expect(cache.lookup(1, bad, own.certificates, nowMs + minuteMs)).toBeUndefined();
  });

  it("are forgotten when the clock goes back", () => {
    const { cache } = makeCache();
    cache.verify(1, own.bytes, own.certificates, nowMs + 60 * minuteMs);
    expect(cache.lookup(1, own.bytes, own.certificates, nowMs)).toBeUndefined();
    expect(cache.verify(1, own.bytes, own.certificates, nowMs)).toMatchObject({ ok: true });
  });

  it("of tokens that are not valid yet last until they are", () => {
    const { cache } = makeCache();
    const early = mint(nodeSigner(), nowMs + minuteMs + 10_000);
    expect(cache.verify(1, early.bytes, early.certificates, nowMs)).toMatchObject({
      reason: "token-not-yet-valid",
    });
    expect(cache.lookup(1, early.bytes, early.certificates, nowMs + 9_999)).toMatchObject({ ok: false });
    expect(cache.lookup(1, early.bytes, early.certificates, nowMs + 10_000)).toBeUndefined();
  });

  it("don't push verified tokens out", () => {
    const { cache } = makeCache({ verified: 2, refused: 2 });
    identify(cache, own);
    for (let i = 0; i < 10; i++) cache.verify(1, Uint8Array.of(i), [], nowMs);
    expect(cache.sizes()).toEqual({ verified: 1, refused: 2, pairs: 0 });
    expect(cache.lookup(1, own.bytes, own.certificates, nowMs)).toMatchObject({ ok: true });
  });

  it("of what is too large cost nothing, and are not kept", () => {
    const { cache, count } = makeCache();
    expect(cache.lookup(1, new Uint8Array(4097), [], nowMs)).toMatchObject({ reason: "token-malformed" });
    expect(cache.verify(1, own.bytes, [new Uint8Array(65_535)], nowMs)).toMatchObject({
      reason: "token-malformed",
    });
    expect(
      cache.lookup(
        1,
        own.bytes,
        Array.from({ length: 255 }, () => new Uint8Array(65_535)),
        nowMs,
      ),
    ).toMatchObject({ ok: false });
    expect(count.verifications).toBe(0);
    expect(cache.sizes().refused).toBe(0);
  });
});

describe("bounds", () => {
  it("let go of what was used longest ago", () => {
    const { cache } = makeCache({ verified: 2 });
    const [a, b, c] = [mint(pskSigner()), mint(pskSigner(), nowMs + 1000), mint(pskSigner(), nowMs + 2000)];
    identify(cache, a);
    identify(cache, b);
    cache.lookup(2, a.bytes, [], nowMs);
    identify(cache, c);
    const known = [a, b, c].map(({ bytes }) => cache.lookup(2, bytes, [], nowMs) !== undefined);
    expect(known).toEqual([true, false, true]);
  });

  it("hold for pairs", () => {
    const { cache } = makeCache({ pairs: 3 });
    const peer = identify(cache, mint(nodeSigner("node-b")));
    for (let i = 0; i < 10; i++) cache.agree(mint(nodeSigner()), peer, "client");
    expect(cache.sizes().pairs).toBe(3);
  });
});

describe.each([
  ["suite 1", nodeSigner("node-a"), nodeSigner("node-b")],
  ["suite 2", pskSigner("node-a"), pskSigner("node-b")],
  ["suite 2 while the PSK is being replaced", pskSigner("node-a", pskA), pskSigner("node-b", pskB)],
] satisfies [string, Signer, Signer][])("two ends in %s", (_name, signerA, signerB) => {
  const [a, b] = [mint(signerA), mint(signerB)];
  const atA = makeCache();
  const atB = makeCache();
  const [aSeen, bSeen] = [identify(atB.cache, a), identify(atA.cache, b)];

  it("have the same keys, whoever asks", () => {
    expect(atA.cache.pairKeys(a, bSeen, "client")).toBeUndefined();
    const asked = atA.cache.agree(a, bSeen, "client");
    expect(atB.cache.agree(b, aSeen, "server")).toEqual(asked);
    const answered = atA.cache.agree(a, bSeen, "server");
    expect(atB.cache.agree(b, aSeen, "client")).toEqual(answered);
    expect(answered).not.toEqual(asked);
  });

  it("agree once for both roles, and derive once for each", () => {
    atA.cache.agree(a, bSeen, "client");
    expect(atA.cache.pairKeys(a, bSeen, "server")).toBe(atA.cache.agree(a, bSeen, "server"));
    expect(atA.cache.pairKeys(a, bSeen, "client")).toBe(atA.cache.pairKeys(a, bSeen, "client"));
    expect(atA.count.derivations).toBe(2);
    expect(atA.cache.sizes().pairs).toBe(1);
  });

  it("have other keys with every other token", () => {
    const later = identify(atA.cache, mint(signerB, nowMs + 1000));
    expect(atA.cache.pairKeys(a, later, "client")).toBeUndefined();
    expect(atA.cache.agree(a, later, "client")).not.toEqual(atA.cache.agree(a, bSeen, "client"));
  });
});

describe("pairs", () => {
  it("leave when either token has expired", () => {
    const { cache } = makeCache();
    const [old, fresh] = [mint(nodeSigner()), mint(nodeSigner(), nowMs + 4 * minuteMs)];
    const peer = identify(cache, mint(nodeSigner("node-b"), nowMs + 4 * minuteMs), nowMs + 4 * minuteMs);
    cache.agree(old, peer, "client");
    cache.agree(fresh, peer, "client");
    cache.expire(nowMs + 11 * minuteMs - 1);
    expect(cache.sizes().pairs).toBe(2);
    cache.expire(nowMs + 11 * minuteMs);
    expect(cache.sizes().pairs).toBe(1);
    expect(cache.pairKeys(old, peer, "client")).toBeUndefined();
    cache.expire(nowMs + 15 * minuteMs);
    expect(cache.sizes()).toEqual({ verified: 0, refused: 0, pairs: 0 });
  });

  it("leave with the unit that they were for", () => {
    const { cache } = makeCache();
    const [gone, stays] = [mint(nodeSigner()), mint(nodeSigner())];
    const peer = identify(cache, mint(nodeSigner("node-b")));
    cache.agree(gone, peer, "client");
    cache.agree(stays, peer, "client");
    cache.forgetOwn(gone);
    expect(cache.pairKeys(gone, peer, "client")).toBeUndefined();
    expect(cache.pairKeys(stays, peer, "client")).toBeDefined();
  });
});

describe("a reload", () => {
  it("forgets everything, and judges by the new trust", () => {
    const { cache } = makeCache();
    const own = mint(nodeSigner());
    const peer = identify(cache, mint(nodeSigner("node-b")));
    cache.agree(own, peer, "client");
    cache.replaceTrust({ ...trust, authorities: new Map() });
    expect(cache.sizes()).toEqual({ verified: 0, refused: 0, pairs: 0 });
    expect(cache.verify(1, own.bytes, own.certificates, nowMs)).toMatchObject({ reason: "ca-unknown" });
  });

  it("that takes a PSK away ends agreements under it", () => {
    const { cache } = makeCache();
    const own = mint(pskSigner("node-a", pskA));
    cache.replaceTrust({ ...trust, psks: new Map([[pskB.id, pskB]]) });
    const peer = identify(cache, mint(pskSigner("node-b", pskB)));
    expect(cache.agree(own, peer, "client")).toBe("psk-unknown");
  });
});

/** Points of small order: with them, every private key agrees on zero (RFC 7748 section 6.1 and section 7). */
const smallOrder = [
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/** A token that node-b really signed, with a public key of its choice. */
function tokenWithKey(publicKey: Uint8Array): Uint8Array {
  const attributes = attributesOf("node-b");
  const times = { issuedSeconds: nowSeconds, expiresSeconds: nowSeconds + 600 };
  const payload = encodeTokenClaims({ puId, ...times, attributes, publicKey, trustDomain: undefined });
  const key = nodeKeys["node-b"].privateKey;
  return forge({ header: new Map([[1, -7]]), payload, context: "trireme-cni token v1", key });
}

describe("attacks on the agreement", () => {
  it.each(smallOrder)("the point of small order %s", (point) => {
    const { cache } = makeCache();
    const token = tokenWithKey(Buffer.from(point, "hex"));
    const peer = cache.verify(1, token, [certify("node-b")], nowMs);
    expect(peer.ok && cache.agree(mint(nodeSigner()), peer.identity, "client")).toBe("key-agreement");
    expect(cache.sizes().pairs).toBe(0);
  });

  it("another's public key inside one's own token gives keys that one doesn't have, nor those of the other", () => {
    const { cache } = makeCache();
    const [server, victim] = [mint(nodeSigner("node-a")), mint(nodeSigner("node-b"))];
    if (!victim.privateKey) throw new Error("no key");
    const stolen = tokenWithKey(rawX25519(victim.privateKey));
    const seen = cache.verify(1, stolen, [certify("node-b")], nowMs);
    if (!seen.ok) throw new Error(seen.detail);
    const keys = cache.agree(server, seen.identity, "server");
    expect(keys).not.toEqual(cache.agree(server, identify(cache, victim), "server"));
    // The attacker has a key of its own, and knows all that is public.
    const { cache: attackers } = makeCache();
    const serverSeen = identify(attackers, server);
    const attacker = { ...mint(nodeSigner("node-b")), bytes: stolen, hash: seen.identity.tokenHash };
    expect(attackers.agree(attacker, serverSeen, "client")).not.toEqual(keys);
    // Only who has the victim's private key gets them.
    expect(
      makeCache().cache.agree({ ...attacker, privateKey: victim.privateKey }, serverSeen, "client"),
    ).toEqual(keys);
  });

  it("one suite at each end", () => {
    const { cache } = makeCache();
    const [pki, psk] = [mint(nodeSigner()), mint(pskSigner())];
    expect(cache.agree(pki, identify(cache, psk), "client")).toBe("suite-unsupported");
    expect(cache.agree(psk, identify(cache, pki), "server")).toBe("suite-unsupported");
  });

  it("a public key of another kind", () => {
    const { cache } = makeCache();
    const peer = identify(cache, mint(nodeSigner("node-b")));
    const wrong = { ...peer, publicKey: createPublicKey(nodeKeys["node-b"].privateKey) };
    expect(cache.agree(mint(nodeSigner()), wrong, "client")).toBe("key-agreement");
  });

  it("one's own token as the peer's: the roles' keys differ", () => {
    const { cache } = makeCache();
    const own = mint(nodeSigner());
    const self = identify(cache, own);
    const [asClient, asServer] = [cache.agree(own, self, "client"), cache.agree(own, self, "server")];
    expect(asClient).toEqual(asServer);
    expect(typeof asClient !== "string" && asClient.kS).not.toEqual(
      typeof asClient !== "string" && asClient.kC,
    );
  });
});
