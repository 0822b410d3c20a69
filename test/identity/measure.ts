/** Measures what identity costs: `node test/identity/measure.ts`. Microseconds of this machine now; only ratios within one run count. */
import { createHmac } from "node:crypto";
import { MessageChannel, receiveMessageOnPort } from "node:worker_threads";
import { deriveKeys } from "../../enforcer/handshake/key-schedule.ts";
import { cwtCodec } from "../../enforcer/identity/cwt.ts";
import type { OwnToken, Suite, VerifiedIdentity } from "../../enforcer/identity/identity.ts";
import { IdentityCache } from "../../enforcer/identity/verifier.ts";
import { attributesOf, nowMs, signerOf, trust } from "./fixtures.ts";

const rounds = 2000;
const tenLabels = Object.fromEntries(
  Array.from({ length: 10 }, (_, index): [string, string[]] => [
    `label-${String(index).padStart(2, "0")}-of-ten`,
    ["v".repeat(15)],
  ]),
);

/** Median of `rounds` runs, in µs; `setUp` isn't counted. */
function medianUs<T>(setUp: () => T, run: (input: T) => void): number {
  const times = Array.from({ length: rounds }, () => {
    const input = setUp();
    const start = process.hrtime.bigint();
    run(input);
    return Number(process.hrtime.bigint() - start) / 1000;
  });
  return times.sort((a, b) => a - b)[rounds / 2] ?? NaN;
}

const makeCache = (): IdentityCache => new IdentityCache({ codec: cwtCodec, trust, derive: deriveKeys });

function identify(cache: IdentityCache, own: OwnToken): VerifiedIdentity {
  const result = cache.verify(own.suite, own.bytes, own.certificates, nowMs);
  if (!result.ok) throw new Error(result.detail);
  return result.identity;
}

function measure(suite: Suite): Record<string, number> {
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
    mint: medianUs(mint, mint),
    "to the worker": medianUs(mint, (token) => {
      port1.postMessage(token);
      receiveMessageOnPort(port2);
    }),
    "verify, first of its node": medianUs(makeCache, (fresh) =>
      fresh.verify(suite, own.bytes, own.certificates, nowMs),
    ),
    "verify, node known": medianUs(mint, (token) =>
      cache.verify(suite, token.bytes, token.certificates, nowMs),
    ),
    "lookup, cached": medianUs(
      () => undefined,
      () => cache.lookup(suite, other.bytes, other.certificates, nowMs),
    ),
    "agree and derive": medianUs(
      () => mint(),
      (token) => cache.agree(token, peer, "client"),
    ),
    "pair keys, cached": medianUs(
      () => undefined,
      () => cache.pairKeys(own, peer, "client"),
    ),
  };
  port1.close();
  return costs;
}

const key = Buffer.alloc(32);
const hmacUs = medianUs(
  () => undefined,
  () => createHmac("sha256", key).update(key).digest(),
);
process.stdout.write(`HMAC-SHA-256 of 32 bytes: ${hmacUs.toFixed(1)} µs = 1\n`);
for (const suite of [1, 2] as const) {
  for (const [name, us] of Object.entries(measure(suite))) {
    const line = `suite ${suite}  ${name.padEnd(28)}${us.toFixed(1).padStart(8)} µs${(us / hmacUs).toFixed(1).padStart(8)}\n`;
    process.stdout.write(line);
  }
}
