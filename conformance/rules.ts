/** Owns looking at the rules in a pod's namespace, and meddling with them, past the plugin. */
import { closeFd, openNetns } from "../netlink/netns.ts";
import type { Table } from "../netlink/nftables/model.ts";
import { Nftables } from "../netlink/nftables/nftables.ts";

function inNetns<T>(netns: string, work: (nftables: Nftables) => T): T {
  const fd = openNetns(netns);
  const nftables = Nftables.open({ netns: fd });
  try {
    return work(nftables);
  } finally {
    nftables.close();
    closeFd(fd);
  }
}

/** The tables as the kernel has them now: the one of the IP stack, then that of the egress hook. */
export function readTables(netns: string): Table[] {
  return inNetns(netns, (nftables) =>
    (["inet", "netdev"] as const)
      .map((family) => nftables.read(family, "trireme"))
      .filter((table) => table !== undefined),
  );
}

export function isEnforced(netns: string): boolean {
  return readTables(netns).length > 0;
}

/** Puts a table in place of the one of its name. */
export function replaceTable(netns: string, table: Table): void {
  inNetns(netns, (nftables) => nftables.replace([table]));
}

/** The table less whatever sets a mark: its packets bear no seal. */
export function withoutSeal(table: Table): Table {
  const isSealing = ({ kind }: Expression): boolean => kind === "immediate" || kind === "metaSet";
  const chains = table.chains.map((chain) => ({
    ...chain,
    rules: chain.rules.map(({ expressions }) => ({
      expressions: expressions.filter((one) => !isSealing(one)),
    })),
  }));
  return { ...table, chains };
}

/** One way of meddling: what was done, and the table after it. */
export interface Alteration {
  readonly title: string;
  readonly table: Table;
}

/** Every table that lacks one rule, has one rule changed, lacks a chain's rules, has a rule or chain more, or another policy. */
export function* alterations(table: Table): Generator<Alteration> {
  for (const [place, chain] of table.chains.entries()) {
    const withRules = (rules: (typeof chain)["rules"]): Table => ({
      ...table,
      chains: table.chains.with(place, { ...chain, rules }),
    });
    for (const [number, rule] of chain.rules.entries()) {
      const title = `rule ${number + 1} of chain ${chain.name}`;
      yield { title: `${title} deleted`, table: withRules(chain.rules.toSpliced(number, 1)) };
      yield { title: `${title} altered`, table: withRules(chain.rules.with(number, alterRule(rule))) };
    }
    const acceptAll = { expressions: [{ kind: "verdict", verdict: "accept" } as const] };
    yield { title: `a rule added to chain ${chain.name}`, table: withRules([acceptAll, ...chain.rules]) };
    if (chain.hook?.policy === "drop") {
      const open = { ...chain, hook: { ...chain.hook, policy: "accept" as const } };
      yield {
        title: `policy of chain ${chain.name}`,
        table: { ...table, chains: table.chains.with(place, open) },
      };
    }
  }
  yield {
    title: "a chain added",
    table: { ...table, chains: [...table.chains, { name: "extra", rules: [] }] },
  };
  yield { title: "the table made dormant", table: { ...table, flags: 1 } };
}

type Rule = Table["chains"][number]["rules"][number];

/** Changes the last expression that has something to change: a verdict's target, a constant, a queue's number. */
function alterRule(rule: Rule): Rule {
  const expressions = rule.expressions.map(alterExpression);
  const place = expressions.findLastIndex((changed, index) => changed !== rule.expressions[index]);
  return { expressions: rule.expressions.with(place, expressions[place] ?? { kind: "counter" }) };
}

type Expression = Rule["expressions"][number];

function alterExpression(expression: Expression): Expression {
  const { kind } = expression;
  if (kind === "verdict") return { kind, verdict: expression.verdict === "accept" ? "drop" : "accept" };
  if (kind === "queue") return { ...expression, number: expression.number + 7 };
  if (kind === "compare" || kind === "immediate") return { ...expression, data: flip(expression.data) };
  if (kind === "bitwise") return { ...expression, xor: flip(expression.xor) };
  return expression;
}

function flip(data: Uint8Array): Uint8Array {
  return data.map((byte, place) => (place === 0 ? byte ^ 1 : byte));
}
