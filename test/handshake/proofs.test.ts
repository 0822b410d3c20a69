/** Owns the tests of tags and key schedule. */
import { createSecretKey } from "node:crypto";
import { describe, expect, it } from "vitest";
import { deriveKeys } from "../../enforcer/handshake/key-schedule.ts";
import { clientTag, serverTag, tagsEqual } from "../../enforcer/handshake/proofs.ts";
import type { HmacKey, KeyMaterial, PairKeys } from "../../enforcer/identity/identity.ts";

const key = createSecretKey(Buffer.alloc(32, 7));
const th2 = Buffer.alloc(32, 1);
const tagS = serverTag(key, th2);

const material: KeyMaterial = {
  suite: 1,
  secret: createSecretKey(Buffer.alloc(32, 3)),
  clientTrustDomain: "cluster.local",
  serverTrustDomain: "cluster.local",
  clientTokenHash: Buffer.alloc(32, 4),
  serverTokenHash: Buffer.alloc(32, 5),
};

function raw(key: HmacKey): string {
  return Buffer.from(key instanceof Uint8Array ? key : key.export()).toString("hex");
}

function all({ kS, kC, kExport }: PairKeys): string[] {
  return [kS, kC, kExport].map(raw);
}

describe("tags", () => {
  it("are 16 bytes that later calls leave alone", () => {
    const kept = tagS.toString("hex");
    expect(tagS).toHaveLength(16);
    expect(clientTag(key, th2, tagS)).toHaveLength(16);
    serverTag(key, Buffer.alloc(32, 9));
    expect(tagS.toString("hex")).toBe(kept);
  });

  it("differ with the key, the transcript, the other tag, and between the roles under one key", () => {
    const other = createSecretKey(Buffer.alloc(32, 8));
    const tags = [
      tagS,
      serverTag(other, th2),
      serverTag(key, Buffer.alloc(32, 2)),
      clientTag(key, th2, tagS),
      clientTag(other, th2, tagS),
      clientTag(key, Buffer.alloc(32, 2), tagS),
      clientTag(key, th2, Buffer.alloc(16)),
    ];
    expect(new Set(tags.map((tag) => tag.toString("hex"))).size).toBe(tags.length);
  });

  it("are the same for a key as bytes", () => {
    expect(serverTag(Buffer.alloc(32, 7), th2)).toEqual(tagS);
  });
});

describe("comparison", () => {
  it("finds every changed bit", () => {
    expect(tagsEqual(tagS, Buffer.from(tagS))).toBe(true);
    for (let bit = 0; bit < 128; bit++) {
      const wrong = Buffer.from(tagS);
      wrong[bit >> 3] = (wrong[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(tagsEqual(tagS, wrong)).toBe(false);
    }
  });

  it("refuses every other length, and never throws", () => {
    for (const length of [0, 1, 15, 17, 32]) {
      const other = Buffer.alloc(length, tagS);
      expect([tagsEqual(tagS, other), tagsEqual(other, tagS), tagsEqual(other, other)]).toEqual([
        false,
        false,
        false,
      ]);
    }
  });
});

describe("the key schedule", () => {
  it("gives three different keys of 32 bytes, the same each time", () => {
    const keys = all(deriveKeys(material));
    expect(new Set(keys).size).toBe(3);
    expect(keys.map((one) => one.length)).toEqual([64, 64, 64]);
    expect(all(deriveKeys({ ...material }))).toEqual(keys);
  });

  it.each<[string, Partial<KeyMaterial>]>([
    ["suite", { suite: 2 }],
    ["secret", { secret: createSecretKey(Buffer.alloc(32, 9)) }],
    ["client's trust domain", { clientTrustDomain: "cluster.loca" }],
    ["server's trust domain", { serverTrustDomain: "other.local" }],
    [
      "boundary between the trust domains",
      { clientTrustDomain: "cluster.localc", serverTrustDomain: "luster.local" },
    ],
    ["client's token", { clientTokenHash: Buffer.alloc(32, 6) }],
    ["server's token", { serverTokenHash: Buffer.alloc(32, 6) }],
    ["roles", { clientTokenHash: material.serverTokenHash, serverTokenHash: material.clientTokenHash }],
  ])("gives other keys for another %s", (_name, change) => {
    const before = all(deriveKeys(material));
    const after = all(deriveKeys({ ...material, ...change }));
    expect(new Set([...before, ...after]).size).toBe(6);
  });

  it("refuses a trust domain whose length doesn't fit a byte", () => {
    expect(() => deriveKeys({ ...material, clientTrustDomain: "é".repeat(128) })).toThrow(RangeError);
    expect(() => deriveKeys({ ...material, clientTrustDomain: "a".repeat(255) })).not.toThrow();
  });
});
