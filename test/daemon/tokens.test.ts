import { createSecretKey, randomBytes } from "node:crypto";
import { beforeEach, expect, test } from "vitest";
import { Tokens } from "../../enforcer/daemon/tokens.ts";
import type { OwnToken, Signer, TokenSubject } from "../../enforcer/identity/identity.ts";
import { makePreSharedKey } from "../../enforcer/identity/keys.ts";
import { FakeLog } from "../control/fakes.ts";

const LIFETIME_MS = 600_000;
let monotonicMs: number;
let wallMs: number;
let renewed: [string, OwnToken][];
let log: FakeLog;

function signer(): Signer {
  const psk = makePreSharedKey(createSecretKey(randomBytes(32)));
  if (psk === undefined) throw new Error("32 bytes are enough");
  return { suite: 2, trustDomain: "cluster.local", node: "node-a", tokenLifetimeMs: LIFETIME_MS, psk };
}

function subject(puId: string): TokenSubject {
  return { puId, attributes: new Map([["@node", ["node-a"]]]) };
}

function makeTokens(): Tokens {
  const clock = { now: () => monotonicMs, wall: () => wallMs };
  const onRenewed = (puId: string, token: OwnToken): unknown => renewed.push([puId, token]);
  return new Tokens({ signer: signer(), clock, random: () => 0.5, onRenewed, log });
}

function pass(ms: number): void {
  monotonicMs += ms;
  wallMs += ms;
}

const renewedIds = (): string[] => renewed.map(([puId]) => puId).sort();

beforeEach(() => {
  monotonicMs = 1000;
  wallMs = Date.UTC(2026, 0, 1);
  renewed = [];
  log = new FakeLog();
});

test("a token is renewed at half its life, until its PU goes", () => {
  const tokens = makeTokens();
  const first = tokens.add(subject("00000000000000aa"));
  expect(first.expiresAtMs - first.issuedAtMs).toBe(LIFETIME_MS);
  pass(LIFETIME_MS / 2 - 1);
  tokens.tick();
  expect(renewed).toEqual([]);
  pass(1);
  tokens.tick();
  expect(renewedIds()).toEqual(["00000000000000aa"]);
  expect(renewed[0]?.[1].hash).not.toEqual(first.hash);
  tokens.remove("00000000000000aa");
  pass(LIFETIME_MS);
  tokens.tick();
  expect(renewed).toHaveLength(1);
});

test.each([3_600_000, -3_600_000])(
  "a jump of the wall clock by %d ms renews all at once, and is reported",
  (jumpMs) => {
    const tokens = makeTokens();
    for (const puId of ["00000000000000aa", "00000000000000bb"]) tokens.add(subject(puId));
    pass(250);
    tokens.tick();
    wallMs += jumpMs;
    pass(250);
    tokens.tick();
    expect(renewedIds()).toEqual(["00000000000000aa", "00000000000000bb"]);
    expect(log.messages("error")).toEqual(["the wall clock jumped: all tokens are minted anew"]);
  },
);

test("new keys renew all", () => {
  const tokens = makeTokens();
  const old = tokens.add(subject("00000000000000aa"));
  tokens.replaceSigner(signer());
  tokens.tick();
  expect(renewed[0]?.[1].pskId).not.toBe(old.pskId);
});

test("attributes that no token can hold are refused at once, and leave nothing", () => {
  const tokens = makeTokens();
  const many = Array.from({ length: 64 }, (_, index) => [`key-${index}`, ["v".repeat(253)]] as const);
  const attributes = new Map([["@node", ["node-a"]], ...many]);
  expect(() => tokens.add({ puId: "00000000000000aa", attributes })).toThrow(
    expect.objectContaining({ name: "OperationError" }) as Error,
  );
  pass(LIFETIME_MS);
  tokens.tick();
  expect(renewed).toEqual([]);
});
