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

/** Rules less one match: the load of this key and what is done with it, `count` expressions. */
function without(key: (Expression & { kind: "metaLoad" })["key"], count: number) {
  const isLoad = (expression: Expression): boolean =>
    expression.kind === "metaLoad" && expression.key === key;
  return (rules: readonly Rule[]): Rule[] =>
    rules.map(({ expressions }) => {
      const at = expressions.findIndex(isLoad);
      return { expressions: at < 0 ? expressions : expressions.toSpliced(at, count) };
    });
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
  route: change("netdev", "egress", without("rtclassid", 3)),
  /** The seal isn't looked at. */
  seal: change("netdev", "egress", without("mark", 2)),
  /** Any source goes. */
  source: change("netdev", "stack", (rules) => [...rules.slice(0, -1), netdevRule(action.accept())]),
  /** ARP is known by what its sender says it is, and may say anything. */
  arp: change("netdev", "egress", (rules) => [...rules.slice(0, -1), anyArp]),
  /** What comes in by the interface keeps its mark. */
  clearing: change("inet", "in_raw", (rules) => rules.toSpliced(2, 1)),
  /** What a socket sends keeps its mark. */
  socketMarks: change("inet", "out_raw", () => []),
} as const satisfies Record<string, Opening>;
