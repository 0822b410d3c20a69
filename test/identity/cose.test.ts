/** COSE: signatures of every shape are taken, as r ‖ s and nothing else. */
import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { decodeCose, isSigned, signCose } from "../../enforcer/identity/cose.ts";
import { encodeCbor } from "../../enforcer/identity/cbor.ts";
import { makeSigningKey } from "./fixtures.ts";
import { signatureHolds } from "./second-implementation.ts";
import { compressP256 } from "../../enforcer/identity/keys.ts";

const context = "trireme-cni token v1";

describe("signatures", () => {
  it("hold with r and s that begin with zeros and with ones", () => {
    const { privateKey, publicKey } = makeSigningKey();
    const point = compressP256(publicKey);
    const shapes = new Set<string>();
    for (let round = 0; round < 5000 && shapes.size < 6; round++) {
      const bytes = signCose(privateKey, undefined, context, randomBytes(8));
      const object = decodeCose(bytes, 1000);
      if (!object) throw new Error("cannot be taken apart");
      const before = shapes.size;
      for (const half of [0, 32]) shapes.add(`${half} ${shapeOf(object.proof[half] ?? 0)}`);
      if (shapes.size === before) continue;
      expect(isSigned(object, context, publicKey)).toBe(true);
      expect(signatureHolds(bytes, context, point)).toBe(true);
    }
    expect(shapes.size).toBe(6);
  });

  it.each([
    ["zeros", new Uint8Array(64)],
    ["ones", new Uint8Array(64).fill(0xff)],
    ["r of zero", Uint8Array.from({ length: 64 }, (_, at) => (at < 32 ? 0 : 1))],
    ["a MAC's length", new Uint8Array(32)],
  ])("of %s are refused", (_name, proof) => {
    const object = decodeCose(
      encodeCbor([encodeCbor(new Map([[1, -7]])), new Map(), new Uint8Array(1), proof]),
      1000,
    );
    expect(object && isSigned(object, context, makeSigningKey().publicKey)).toBe(false);
  });

  it.each([0, 31, 33, 63, 65, 71])("of %i bytes are not even taken apart", (length) => {
    const parts = [encodeCbor(new Map([[1, -7]])), new Map(), new Uint8Array(1), new Uint8Array(length)];
    expect(decodeCose(encodeCbor(parts), 1000)).toBeUndefined();
  });
});

function shapeOf(first: number): string {
  if (first === 0) return "zero";
  return first < 0x80 ? "positive" : "negative";
}
