/** The rule set less one rule: what each of them holds back is shown by taking it out. */
import { action, netdevRule } from "../../netlink/nftables/builder.ts";
import type { Expression, Rule, Table } from "../../netlink/nftables/model.ts";

export type Opening = (tables: readonly Table[]) => Table[];

function change(family: Table["family"], chain: string, edit: (rules: readonly Rule[]) => Rule[]): Opening {
  return (tables) =>
    tables.map((table) =>
      table.family === family
        ? {
            ...table,
            chains: table.chains.map((one) =>
              one.name === chain ? { ...one, rules: edit(one.rules) } : one,
            ),
          }
        : table,
    );
}

function loads(rule: Rule, key: (Expression & { kind: "metaLoad" })["key"]): boolean {
  return rule.expressions.some((expression) => expression.kind === "metaLoad" && expression.key === key);
}

const anyArp: Rule = {
  expressions: [
    { kind: "metaLoad", key: "protocol" },
    { kind: "compare", operator: "==", data: Uint8Array.of(0x08, 0x06) },
    { kind: "verdict", verdict: "accept" },
  ],
};

export const openings = {
  /** Frames without a route are taken for the IP stack's. */
  route: change("netdev", "egress", (rules) =>
    rules.map((rule) => (loads(rule, "rtclassid") ? netdevRule(action.goto("stack")) : rule)),
  ),
  /** The seal isn't looked at. */
  seal: change("netdev", "stack", (rules) => rules.slice(1)),
  /** Any source goes. */
  source: change("netdev", "stack", (rules) => [...rules.slice(0, -1), netdevRule(action.accept())]),
  /** ARP is known by what its sender says it is, and may say anything. */
  arp: change("netdev", "egress", (rules) => [anyArp, ...rules.slice(1)]),
  /** What comes in by the interface keeps its mark. */
  clearing: change("inet", "in_raw", (rules) => rules.toSpliced(1, 1)),
} as const satisfies Record<string, Opening>;
