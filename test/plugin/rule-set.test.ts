/** The rule set as a whole, and what must hold for every mask and every interface. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareTables } from "../../netlink/nftables/compare.ts";
import { formatTable } from "../../netlink/nftables/format.ts";
import type { Expression, Table } from "../../netlink/nftables/model.ts";
import { parseAddress } from "../../netlink/prefix.ts";
import { linkLocalsOf } from "../../plugin/egress-rules.ts";
import { closedInterfaces, ruleOwners, withoutOwner } from "../../plugin/rule-owners.ts";
import { markLayout, markMaskOf, queues, renderRuleSet, sealOf } from "../../plugin/rule-set.ts";

const usual = { interfaceNames: ["eth0"], markMask: 0xfff00000, onLinkPrefixes6: ["fd00:1::/64"] };
const address = (text: string): Uint8Array => parseAddress(text) ?? new Uint8Array();
const egress = {
  seal: 0x89abcdef,
  addresses: ["10.1.0.2", "fd00:1::2", "10.1.0.2"].map(address),
  linkLocals: [address("fe80::2")],
};
/** Bits of `ct state`. */
const ctState = { invalid: 1, established: 2 } as const;
const golden = join(import.meta.dirname, "rule-set.golden.txt");

function only(tables: readonly Table[]): Table {
  expect(tables).toHaveLength(1);
  return tables[0] as Table;
}

function expressions(table: Table, kind: Expression["kind"]): Expression[] {
  return table.chains.flatMap(({ rules }) =>
    rules.flatMap((rule) => rule.expressions.filter((expression) => expression.kind === kind)),
  );
}

describe("renderRuleSet", () => {
  it("is the set of rule-set.golden.txt (GOLDEN=write renews it)", () => {
    const text = renderRuleSet({ ...usual, egress })
      .map(formatTable)
      .join("");
    if (process.env["GOLDEN"] === "write") writeFileSync(golden, text);
    expect(text).toBe(readFileSync(golden, "utf8"));
  });

  it("queues to seven queues, none with bypass", () => {
    const found = expressions(only(renderRuleSet(usual)), "queue");
    expect(
      found.map((queue) => queue.kind === "queue" && [queue.number, queue.total, queue.bypass, queue.fanout]),
    ).toEqual([0, 1, 2, 5, 3, 4, 6].map((number) => [number, 1, false, false]));
    expect(Object.values(queues).toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  it("touches no bit but its own when it clears, saves or matches", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 20 }), (shift) => {
        const markMask = (0xfff << shift) >>> 0;
        const { others } = markLayout(markMask);
        const table = only(renderRuleSet({ ...usual, markMask }));
        for (const masked of expressions(table, "bitwise")) {
          if (masked.kind !== "bitwise" || masked.mask.length !== 4) continue;
          const value = new DataView(masked.mask.buffer, masked.mask.byteOffset).getUint32(0, true);
          const keepsOthers = (value & others) >>> 0 === others;
          const onlyOwn = (value & others) === 0;
          const isState = value === ctState.invalid || value === ctState.established;
          expect(keepsOthers || onlyOwn || isState).toBe(true);
        }
      }),
    );
  });

  it.each([[[]], [["eth0", "net1"]], [["a"]]])(
    "matches the interfaces %j in every base chain that decides",
    (interfaceNames) => {
      if (interfaceNames.length === 0) {
        expect(() => renderRuleSet({ ...usual, interfaceNames })).toThrow(RangeError);
        return;
      }
      const table = only(renderRuleSet({ ...usual, interfaceNames }));
      for (const [name, count] of [
        ["in_raw", 1],
        ["in", 1],
        ["out", 2],
      ] as const) {
        const rules = table.chains.find((chain) => chain.name === name)?.rules ?? [];
        const matches = rules.flatMap(({ expressions }) =>
          expressions.flatMap(({ kind, ...expression }, index) =>
            kind === "metaLoad" && /^[io]ifname$/.test(String((expression as { key?: string }).key))
              ? [expressions[index + 1]?.kind]
              : [],
          ),
        );
        const kind = interfaceNames.length === 1 ? "compare" : "lookup";
        expect(matches).toEqual(Array.from({ length: count }, () => kind));
      }
    },
  );

  it.each(["10.0.0.0/8", "fd00::/129", "x/64", ""])("refuses %j as a prefix", (prefix) => {
    expect(() => renderRuleSet({ ...usual, onLinkPrefixes6: [prefix] })).toThrow(RangeError);
  });
});

describe("the egress rules", () => {
  const [inet, netdev] = renderRuleSet({ ...usual, egress });
  const stack = (table: Table | undefined) => table?.chains.find(({ name }) => name === "stack");

  it("are a table of their own, on the pod's interfaces, and absent where the hook is", () => {
    expect(renderRuleSet(usual).map(({ family }) => family)).toEqual(["inet"]);
    expect([inet?.family, netdev?.family]).toEqual(["inet", "netdev"]);
    const [, both] = renderRuleSet({ ...usual, interfaceNames: ["eth0", "net1"], egress });
    expect(both?.chains[0]?.hook).toMatchObject({ policy: "drop", devices: ["eth0", "net1"] });
  });

  it("give back the seal and the link-local addresses that they were made from", () => {
    expect([sealOf(inet), linkLocalsOf(netdev)]).toEqual([egress.seal, egress.linkLocals]);
    expect([sealOf(undefined), linkLocalsOf(undefined)]).toEqual([undefined, []]);
    expect(sealOf(only(renderRuleSet(usual)))).toBe(undefined);
    const altered = inet?.chains.map((chain) => (chain.name === "out" ? { ...chain, rules: [] } : chain));
    expect(sealOf({ family: "inet", name: "trireme", chains: altered ?? [] })).toBe(0);
  });

  it("end in a drop, whatever addresses there are", () => {
    const [, bare] = renderRuleSet({ ...usual, egress: { seal: 1, addresses: [], linkLocals: [] } });
    for (const table of [netdev, bare])
      expect(stack(table)?.rules.at(-1)?.expressions).toEqual([{ kind: "verdict", verdict: "drop" }]);
  });
});

describe("owners", () => {
  const one = { puId: "0123456789abcdef", interfaceName: "eth0" };
  const other = { puId: "fedcba9876543210", interfaceName: "pu_eth_1" };
  const both = { ...usual, interfaceNames: ["eth0", "pu_eth_1"] };
  const table = only(renderRuleSet({ ...both, owners: [one, other] }));

  it("are read from the table again", () => expect(ruleOwners(table)).toEqual([one, other]));
  it("are none where there is no table", () => expect(ruleOwners(undefined)).toEqual([]));

  it("leave one by one; their interface stays closed, by the very rules that are rendered for it", () => {
    const rest = withoutOwner(table, one.puId);
    expect([ruleOwners(rest), closedInterfaces(rest)]).toEqual([[other], ["eth0"]]);
    const rendered = { ...usual, interfaceNames: ["pu_eth_1"], owners: [other], closedNames: ["eth0"] };
    expect(compareTables(only(renderRuleSet(rendered)), rest)).toEqual([]);
    const third = { puId: "0000000000000000", interfaceName: "net2" };
    const interfaceNames = ["net2", "pu_eth_1"];
    const more = only(
      renderRuleSet({ ...rendered, interfaceNames, owners: [other, third], closedNames: ["eth0"] }),
    );
    const closedNames = ["eth0", "net2"];
    expect(
      compareTables(only(renderRuleSet({ ...rendered, closedNames })), withoutOwner(more, third.puId)),
    ).toEqual([]);
  });

  it("leave an interface to the owner that has it as well", () => {
    const shared = only(renderRuleSet({ ...usual, owners: [one, { ...other, interfaceName: "eth0" }] }));
    const rest = withoutOwner(shared, one.puId);
    expect([closedInterfaces(rest), rest.chains.length]).toEqual([[], shared.chains.length - 1]);
  });

  it("have closed interfaces beside them only of names that an interface can have", () => {
    const chains = ["closed_", "closed_a-name-that-is-too-long", "closed_eth0", "closed_net1"];
    const made = [...table.chains, ...chains.map((name) => ({ name, rules: [] }))];
    expect(closedInterfaces({ ...table, chains: made })).toEqual(["net1"]);
    expect(closedInterfaces(undefined)).toEqual([]);
  });
});

describe("closed interfaces", () => {
  const table = only(renderRuleSet({ ...usual, closedNames: ["net1"] }));

  it.each(["in_raw", "out"])("are dropped first of all in %s", (name) => {
    const chain = table.chains.find((one) => one.name === name);
    expect(chain?.rules[0]?.expressions.at(-1)).toEqual({ kind: "verdict", verdict: "drop" });
    expect(chain?.rules[0]?.expressions).toHaveLength(3);
  });
});

describe("markMaskOf", () => {
  it("gives back the mask that a table was rendered with, and none for a table of other making", () => {
    for (const markMask of [0xfff00000, 0x00000fff, 0x0fff0000])
      expect(markMaskOf(only(renderRuleSet({ ...usual, markMask })))).toBe(markMask);
    expect(markMaskOf(undefined)).toBe(undefined);
    const table = only(renderRuleSet(usual));
    const of = (name: string) => table.chains.find((chain) => chain.name === name)?.rules ?? [];
    for (const rules of [[], of("in"), of("in_raw").slice(2)])
      expect(markMaskOf({ ...table, chains: [{ name: "out_raw", rules }] })).toBe(undefined);
  });
});

describe("markLayout", () => {
  it("puts the state into the top 4 of 12 bits", () => {
    expect(markLayout(0xfff00000)).toEqual({
      stateMask: 0xf0000000,
      judged: 0x10000000,
      authorised: 0x50000000,
      authorising: 0x5ff00000,
      others: 0x000fffff,
    });
    expect(markLayout(0x00000fff)).toEqual({
      stateMask: 0xf00,
      judged: 0x100,
      authorised: 0x500,
      authorising: 0x5ff,
      others: 0xfffff000,
    });
  });

  it.each([0, 1, 0x7ff, 0x1fff, 0xf0f, 0xffffffff, 0xff000000])("refuses the mask 0x%i", (mask) => {
    expect(() => markLayout(mask)).toThrow(RangeError);
  });
});
