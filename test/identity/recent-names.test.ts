/** What is found is what was remembered, byte for byte. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { LruMap } from "../../enforcer/identity/lru-map.ts";
import { RecentNames } from "../../enforcer/identity/recent-names.ts";

const bytes = fc.uint8Array({ minLength: 1, maxLength: 60 });

test("a token is found with its certificates and suite, also when its buffer is used again", () => {
  fc.assert(
    fc.property(bytes, fc.array(bytes, { maxLength: 2 }), (token, certificates) => {
      const names = new RecentNames();
      const [own, ownCertificates] = [token.slice(), certificates.map((one) => one.slice())];
      names.remember(1, own, ownCertificates, "name");
      own.fill(0);
      for (const one of ownCertificates) one.fill(0);
      expect(names.find(1, token, certificates)).toBe("name");
      expect(names.find(2, token, certificates)).toBeUndefined();
      expect(names.find(1, token, [...certificates, token])).toBeUndefined();
      expect(names.find(1, token.subarray(0, -1), certificates)).toBeUndefined();
    }),
  );
});

test("one changed byte, wherever it is, is another token", () => {
  fc.assert(
    fc.property(
      bytes,
      bytes,
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (token, certificate, where, change) => {
        const names = new RecentNames();
        names.remember(1, token, [certificate], "name");
        const changed = (source: Uint8Array): Uint8Array =>
          source.map((byte, at) => (at === where % source.length ? byte ^ change : byte));
        expect(names.find(1, changed(token), [certificate])).toBeUndefined();
        expect(names.find(1, token, [changed(certificate)])).toBeUndefined();
      },
    ),
  );
});

test("of two tokens of one place the later one is found", () => {
  const names = new RecentNames();
  const [first, second] = [Uint8Array.of(1, 9), Uint8Array.of(2, 9)];
  names.remember(1, first, [], "first");
  names.remember(1, second, [], "second");
  expect([names.find(1, first, []), names.find(1, second, [])]).toEqual([undefined, "second"]);
});

test("a bounded map forgets what was used longest ago, as a list kept by hand does", () => {
  const step = fc.record({ kind: fc.constantFrom("get", "set", "delete"), key: fc.nat(7) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const map = new LruMap<number, string>(4);
      let inOrder: number[] = [];
      for (const { kind, key } of steps) {
        const isKnown = inOrder.includes(key);
        const others = inOrder.filter((one) => one !== key);
        if (kind === "get") {
          expect(map.get(key)).toBe(isKnown ? String(key) : undefined);
          if (isKnown) inOrder = [...others, key];
        } else if (kind === "set") {
          map.set(key, String(key));
          inOrder = [...others, key].slice(-4);
        } else {
          map.delete(key);
          inOrder = others;
        }
        expect(map.size).toBe(inOrder.length);
      }
      for (const key of inOrder) expect(map.get(key)).toBe(String(key));
    }),
  );
});
