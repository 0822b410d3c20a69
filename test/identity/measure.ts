/** Measures what identity costs: `node test/identity/measure.ts`. Microseconds of this machine now; only ratios within one run count. */
import { createHmac } from "node:crypto";
import { MessageChannel, receiveMessageOnPort } from "node:worker_threads";
import { deriveKeys } from "../../enforcer/handshake/key-schedule.ts";
import { cwtCodec } from "../../enforcer/identity/cwt.ts";
import type { OwnToken, Suite, VerifiedIdentity } from "../../enforcer/identity/identity.ts";
import { IdentityCache } from "../../enforcer/identity/verifier.ts";
import { attributesOf, nowMs, signerOf, trust } from "./fixtures.ts";

const tenLabels = Object.fromEntries(
  Array.from({ length: 10 }, (_, index): [string, string[]] => [
    `label-${String(index).padStart(2, "0")}-of-ten`,
    ["v".repeat(15)],
  ]),
);

/** Median of `rounds` runs, in µs; `setUp` isn't counted. */
function medianUs<T>(rounds: number, setUp: () => T, run: (input: T) => void): number {
  const times = Array.from({ length: rounds }, () => {
    const input = setUp();
    const start = process.hrtime.bigint();
    run(input);
    return Number(process.hrtime.bigint() - start) / 1000;
  });
  return times.sort((a, b) => a - b)[Math.floor(rounds / 2)] ?? NaN;
}

const makeCache = (): IdentityCache => new IdentityCache({ codec: cwtCodec, trust, derive: deriveKeys });

function identify(cache: IdentityCache, own: OwnToken): VerifiedIdentity {
  const result = cache.verify(own.suite, own.bytes, own.certificates, nowMs);
  if (!result.ok) throw new Error(result.detail);
  return result.identity;
}

/** Cost of each operation, in µs. */
export function measure(suite: Suite, rounds: number): Record<string, number> {
  const minter = cwtCodec.minter(signerOf(suite));
  const subject = { attributes: attributesOf("node-a", tenLabels) };
  let minted = 0;
  /** Each for a unit of its own: in suite 2 two tokens of one second would be the same. */
  const mint = (): OwnToken =>
    minter.mint({ ...subject, puId: (minted++).toString(16).padStart(16, "0") }, nowMs);
  const [own, other] = [mint(), mint()];
  const cache = makeCache();
  const peer = identify(cache, other);
  cache.agree(own, peer, "client");
  const { port1, port2 } = new MessageChannel();
  const costs = {
    mint: medianUs(rounds, mint, mint),
    "to the worker": medianUs(rounds, mint, (token) => {
      port1.postMessage(token);
      receiveMessageOnPort(port2);
    }),
    "verify, first of its node": medianUs(rounds, makeCache, (fresh) =>
      fresh.verify(suite, own.bytes, own.certificates, nowMs),
    ),
    "verify, node known": medianUs(rounds, mint, (token) =>
      cache.verify(suite, token.bytes, token.certificates, nowMs),
    ),
    "lookup, cached": medianUs(
      rounds,
      () => undefined,
      () => cache.lookup(suite, other.bytes, other.certificates, nowMs),
    ),
    "agree and derive": medianUs(
      rounds,
      () => mint(),
      (token) => cache.agree(token, peer, "client"),
    ),
    "pair keys, cached": medianUs(
      rounds,
      () => undefined,
      () => cache.pairKeys(own, peer, "client"),
    ),
  };
  port1.close();
  return costs;
}

/** The yardstick. */
function hmac(): void {
  createHmac("sha256", key).update(key).digest();
}
const key = Buffer.alloc(32);

function main(rounds: number): void {
  const hmacUs = medianUs(rounds, hmac, hmac);
  process.stdout.write(`HMAC-SHA-256 of 32 bytes: ${hmacUs.toFixed(1)} µs = 1\n`);
  for (const suite of [1, 2] as const) {
    for (const [name, us] of Object.entries(measure(suite, rounds))) {
      const columns = [
        name.padEnd(28),
        us.toFixed(1).padStart(8),
        "µs",
        (us / hmacUs).toFixed(1).padStart(8),
      ];
      process.stdout.write(`suite ${suite}  ${columns.join(" ")}\n`);
    }
  }
}

if (import.meta.main) main(2000);
