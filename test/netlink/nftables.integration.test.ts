/** Whole tables in real namespaces: replaced in one batch, read back, compared; nft as the second opinion. */
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { NetlinkError } from "../../netlink/error.ts";
import { action, match, rule } from "../../netlink/nftables/builder.ts";
import { compareTables } from "../../netlink/nftables/compare.ts";
import { formatTable } from "../../netlink/nftables/format.ts";
import type { Chain, Expression, Hook, Rule, Table } from "../../netlink/nftables/model.ts";
import { Nftables } from "../../netlink/nftables/nftables.ts";
import { TestNamespace } from "./namespaces.ts";
import { referenceInet, referenceNetdev, referenceScript } from "./reference-tables.ts";

let namespace: TestNamespace;
let nftables: Nftables;
beforeEach(() => {
  namespace = new TestNamespace();
  nftables = Nftables.open({ netns: namespace.fd });
});
afterEach(async () => {
  nftables.close();
  await namespace.remove();
});

const both = [referenceInet, referenceNetdev];

/** The table with one rule in place of another, or without it. */
function withRule(table: Table, chain: string, index: number, ...replacement: readonly Rule[]): Table {
  const chains = table.chains.map((candidate) =>
    candidate.name === chain
      ? { ...candidate, rules: candidate.rules.toSpliced(index, 1, ...replacement) }
      : candidate,
  );
  return { ...table, chains };
}

function rulesOf(table: Table): { chain: string; index: number; rule: Rule }[] {
  return table.chains.flatMap((chain) =>
    chain.rules.map((each, index) => ({ chain: chain.name, index, rule: each })),
  );
}

test("what was written is read back as it was, and written again without a gap", () => {
  const form = nftables.replace(both);
  for (const table of both) expect(compareTables(table, nftables.read(table.family, table.name))).toEqual([]);
  expect(nftables.replace(both, form)).toBe(form);
  for (const table of both) expect(compareTables(table, nftables.read(table.family, table.name))).toEqual([]);
});

test("nft lists what was written as it would what it was told", () => {
  nftables.replace(both);
  const ours = namespace.run("nft", "list", "ruleset");
  nftables.remove(both);
  namespace.nft(referenceScript.replace(/queue num \d+/g, "drop"));
  const theirs = namespace.run("nft", "list", "ruleset");
  expect(ours.replace(/queue num \d+/g, "drop")).toBe(theirs);
});

test("what nft wrote is read as the same model", () => {
  namespace.nft(referenceScript.replace(/queue num \d+/g, "drop"));
  const dropped: Table = JSON.parse(JSON.stringify(referenceInet), (_, value: unknown) => {
    const isQueue = (value as Partial<Expression> | null)?.kind === "queue";
    return isQueue ? { kind: "verdict", verdict: "drop" } : reviveBytes(value);
  }) as Table;
  expect(compareTables(dropped, nftables.read("inet", "reference"))).toEqual([]);
  expect(compareTables(referenceNetdev, nftables.read("netdev", "reference"))).toEqual([]);
});

/** JSON makes an object of a Uint8Array. */
function reviveBytes(value: unknown): unknown {
  const isBytes = typeof value === "object" && value !== null && "0" in value && !Array.isArray(value);
  return isBytes ? Uint8Array.from(Object.values(value as Record<string, number>)) : value;
}

test("a table that isn't there is a normal answer", () => {
  expect(nftables.read("inet", "reference")).toBeUndefined();
  nftables.remove([referenceInet]);
  nftables.replace([referenceInet]);
  expect(nftables.read("ip", "reference")).toBeUndefined();
  nftables.remove([referenceInet, referenceNetdev]);
  expect(nftables.read("inet", "reference")).toBeUndefined();
  expect(compareTables(referenceInet, undefined)).toMatchObject([{ kind: "missingTable" }]);
});

test("both tables come and go in one generation, or not at all", () => {
  nftables.replace(both, "compat");
  const before = namespace.run("nft", "list", "ruleset");
  const broken: Table = {
    family: "netdev",
    name: "reference",
    chains: [{ name: "egress", rules: [rule(action.jump("nowhere"))] }],
  };
  expect(() => nftables.replace([{ ...referenceInet, chains: [] }, broken], "compat")).toThrow(
    /netdev reference: rule 0 of chain egress: ENOENT/,
  );
  expect(namespace.run("nft", "list", "ruleset")).toBe(before);
});

test("a refusal says which message, and has the kernel's own place", () => {
  const hook: Hook = { type: "filter", hook: "output", priority: 0, policy: "accept" };
  const chains: Chain[] = [{ name: "out", hook, rules: [rule(action.accept()), rule(action.jump("out"))] }];
  const refusal = catchError(() => nftables.replace([{ family: "inet", name: "loop", chains }]));
  expect(refusal).toMatchObject({ code: expect.stringMatching(/^(ENOTSUP|ELOOP)$/) as string });
  expect(refusal.operation).toMatch(/inet loop/);
  const absent = catchError(() => nftables.replace([{ family: "inet", name: "x", chains: [jumpNowhere] }]));
  expect(absent).toMatchObject({ code: "ENOENT", operation: "replace tables: inet x: rule 0 of chain out" });
  expect(absent.extendedAck.offset).toBeGreaterThan(16);
});

const jumpNowhere: Chain = { name: "out", rules: [rule(action.jump("nowhere"))] };

function catchError(act: () => unknown): NetlinkError {
  try {
    act();
  } catch (error) {
    if (error instanceof NetlinkError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

test("native or compat, a queue reads back the same", () => {
  const rules = [rule(action.queue(7)), rule({ requires: [], expressions: [sharedQueue] })];
  const table: Table = { family: "inet", name: "queues", chains: [{ name: "out", rules }] };
  nftables.replace([table], "compat");
  expect(compareTables(table, nftables.read("inet", "queues"))).toEqual([]);
  expect(["native", "compat"]).toContain(nftables.replace([table]));
  expect(compareTables(table, nftables.read("inet", "queues"))).toEqual([]);
});

const sharedQueue: Expression = { kind: "queue", number: 8, total: 4, bypass: true, fanout: true };

test("every rule that nft deletes is missed", () => {
  for (const table of both) {
    for (const { chain, index } of rulesOf(table)) {
      nftables.replace(both, "compat");
      const listing = namespace.run("nft", "-a", "list", "chain", table.family, table.name, chain);
      const handles = [...listing.matchAll(/# handle (\d+)$/gm)].map(([, handle]) => handle ?? "").slice(1);
      namespace.run("nft", "delete", "rule", table.family, table.name, chain, "handle", handles[index] ?? "");
      const differences = compareTables(table, nftables.read(table.family, table.name));
      expect(differences).toMatchObject([{ kind: "missingRule", chain }]);
    }
  }
}, 60_000);

test("every expression that is left out of a rule, and every byte that is changed in one, is noticed", () => {
  for (const { chain, index, rule: original } of rulesOf(referenceInet)) {
    for (const altered of alterations(original)) {
      const table = withRule(referenceInet, chain, index, altered);
      expect(compareTables(referenceInet, table)).toMatchObject([
        { kind: "changedRule", chain, rule: index },
      ]);
    }
  }
});

function alterations({ expressions }: Rule): Rule[] {
  return expressions.flatMap((expression, index) => [
    { expressions: expressions.toSpliced(index, 1) },
    ...changedBytes(expression).map((changed) => ({ expressions: expressions.toSpliced(index, 1, changed) })),
  ]);
}

function changedBytes(expression: Expression): Expression[] {
  if (expression.kind === "compare" || expression.kind === "immediate") {
    return flips(expression.data).map((data) => ({ ...expression, data }));
  }
  if (expression.kind === "bitwise") return flips(expression.mask).map((mask) => ({ ...expression, mask }));
  if (expression.kind === "queue")
    return [
      { ...expression, bypass: true },
      { ...expression, number: 99 },
    ];
  if (expression.kind !== "lookup") return [];
  const { set } = expression;
  return [
    { ...expression, invert: !expression.invert },
    { ...expression, set: { ...set, ranges: set.ranges.slice(1) } },
  ];
}

function flips(data: Uint8Array): Uint8Array[] {
  return Array.from(data, (byte, index) => data.with(index, byte ^ 1));
}

test("changes that nft makes beside the rules are noticed", () => {
  const found = (script: string): unknown => {
    nftables.replace([referenceInet], "compat");
    namespace.nft(script);
    return compareTables(referenceInet, nftables.read("inet", "reference")).map(
      ({ kind, chain, rule: index }) => [kind, chain, index],
    );
  };
  expect(found("add chain inet reference more")).toEqual([["extraChain", "more", undefined]]);
  expect(found("add chain inet reference in { policy accept ; }")).toEqual([["chainHook", "in", undefined]]);
  expect(found("add table inet reference { flags dormant; }")).toEqual([
    ["tableFlags", undefined, undefined],
  ]);
  expect(found("insert rule inet reference in accept")).toEqual([["extraRule", "in", 0]]);
  expect(found("add rule inet reference in_raw accept")).toEqual([["extraRule", "in_raw", 7]]);
  expect(found("insert rule inet reference in tcp option maxseg size set 99")).toEqual([
    ["extraRule", "in", 0],
  ]);
  expect(found("delete table inet reference")).toEqual([["missingTable", undefined, undefined]]);
  expect(found("")).toEqual([]);
});

test("a named set in place of an anonymous one is noticed", () => {
  const table: Table = {
    family: "inet",
    name: "named",
    chains: [{ name: "out", rules: [rule(match.icmp6Type([1, 2]), action.accept())] }],
  };
  namespace.nft(`table inet named {
    set types { type icmpv6_type; elements = { 1, 2 }; }
    chain out { icmpv6 type @types accept; }
  }`);
  expect(compareTables(table, nftables.read("inet", "named"))).toMatchObject([
    { kind: "changedRule", rule: 0 },
  ]);
});

test("any prefixes in a set are read back as the same addresses", () => {
  const prefix = fc
    .tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.integer({ min: 0, max: 32 }))
    .map(([address, length]) => ({ address, length }));
  fc.assert(
    fc.property(fc.array(prefix, { minLength: 1, maxLength: 12 }), (prefixes) => {
      const chains = [{ name: "out", rules: [rule(match.ip4Source(prefixes), action.accept())] }];
      const table: Table = { family: "inet", name: "sets", chains };
      nftables.replace([table]);
      const found = nftables.read("inet", "sets");
      expect(found === undefined ? "" : formatTable(found)).toBe(formatTable(table));
    }),
    { numRuns: 60, examples: [[[{ address: Uint8Array.of(255, 255, 255, 255), length: 8 }]]] },
  );
});

test("a table of a thousand rules goes in one batch", () => {
  const rules = Array.from({ length: 1000 }, (_, mark) => rule(match.mark(0xffff, mark), action.accept()));
  const table: Table = { family: "ip", name: "large", chains: [{ name: "out", rules }] };
  nftables.replace([table]);
  expect(compareTables(table, nftables.read("ip", "large"))).toEqual([]);
});
