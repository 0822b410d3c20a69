/** Tells what differs between a table as it should be and as it was found. */
import { formatHook, formatRule } from "./format.ts";
import type { Chain, Rule, Table } from "./model.ts";

export type DifferenceKind =
  | "missingTable"
  | "tableFlags"
  | "missingChain"
  | "extraChain"
  | "chainHook"
  | "missingRule"
  | "extraRule"
  | "changedRule";

export interface TableDifference {
  readonly kind: DifferenceKind;
  /** Family and name, such as "inet trireme". */
  readonly table: string;
  readonly chain: string | undefined;
  /** Index of the rule in its chain, from 0. */
  readonly rule: number | undefined;
  /** Both as text, undefined where there is none. */
  readonly wanted: string | undefined;
  readonly found: string | undefined;
}

type Report = Pick<TableDifference, "kind"> & Partial<Omit<TableDifference, "kind" | "table">>;

/** Empty if the two do the same to packets: handles, counts and the order of chains don't matter, that of rules does. */
export function compareTables(wanted: Table, found: Table | undefined): TableDifference[] {
  const table = `${wanted.family} ${wanted.name}`;
  return reports(wanted, found).map((report) => ({
    chain: undefined,
    rule: undefined,
    wanted: undefined,
    found: undefined,
    ...report,
    table,
  }));
}

function reports(wanted: Table, found: Table | undefined): Report[] {
  if (found?.family !== wanted.family || found.name !== wanted.name) return [{ kind: "missingTable" }];
  const [wantedFlags, foundFlags] = [wanted.flags ?? 0, found.flags ?? 0];
  const foundChains = new Map(found.chains.map((chain) => [chain.name, chain]));
  const wantedNames = new Set(wanted.chains.map(({ name }) => name));
  return [
    ...(wantedFlags === foundFlags
      ? []
      : [{ kind: "tableFlags" as const, wanted: String(wantedFlags), found: String(foundFlags) }]),
    ...wanted.chains.flatMap((chain) => compareChains(chain, foundChains.get(chain.name))),
    ...found.chains
      .filter(({ name }) => !wantedNames.has(name))
      .map(({ name, hook }) => ({ kind: "extraChain" as const, chain: name, found: formatHook(hook) })),
  ];
}

function compareChains(wanted: Chain, found: Chain | undefined): Report[] {
  const chain = wanted.name;
  if (found === undefined) return [{ kind: "missingChain", chain, wanted: formatHook(wanted.hook) }];
  const [wantedHook, foundHook] = [formatHook(wanted.hook), formatHook(found.hook)];
  const hook: Report[] =
    wantedHook === foundHook ? [] : [{ kind: "chainHook", chain, wanted: wantedHook, found: foundHook }];
  return [...hook, ...compareRules(chain, wanted.rules, found.rules)];
}

/** One deleted or inserted rule is told as such: the rules are aligned from both ends, and what is left is told by pairs. */
function compareRules(chain: string, wanted: readonly Rule[], found: readonly Rule[]): Report[] {
  let start = 0;
  while (start < Math.min(wanted.length, found.length) && isSame(wanted[start], found[start])) start++;
  let end = 0;
  const rest = Math.min(wanted.length, found.length) - start;
  while (end < rest && isSame(wanted.at(-1 - end), found.at(-1 - end))) end++;
  const pairs = Math.max(wanted.length, found.length) - end - start;
  return Array.from({ length: pairs }, (_, offset) => {
    const rule = start + offset;
    const wantedRule = textOf(rule < wanted.length - end ? wanted[rule] : undefined);
    const foundRule = textOf(rule < found.length - end ? found[rule] : undefined);
    return { kind: ruleKind(wantedRule, foundRule), chain, rule, wanted: wantedRule, found: foundRule };
  });
}

/** Equal texts are what makes rules the same; most are seen to be so without writing them, which takes three times as long. */
function isSame(wanted: Rule | undefined, found: Rule | undefined): boolean {
  return isPlainlySame(wanted?.expressions, found?.expressions) || textOf(wanted) === textOf(found);
}

function isPlainlySame(one: unknown, other: unknown): boolean {
  if (one instanceof Uint8Array) return other instanceof Uint8Array && Buffer.compare(one, other) === 0;
  if (!isObject(one) || !isObject(other)) return one === other;
  const names = Object.keys(one);
  return (
    names.length === Object.keys(other).length &&
    names.every((name) => name in other && isPlainlySame(one[name], other[name]))
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function textOf(rule: Rule | undefined): string | undefined {
  return rule === undefined ? undefined : formatRule(rule);
}

function ruleKind(wanted: string | undefined, found: string | undefined): DifferenceKind {
  if (found === undefined) return "missingRule";
  return wanted === undefined ? "extraRule" : "changedRule";
}

/** One line for people. */
export function formatDifference({ kind, table, chain, rule, wanted, found }: TableDifference): string {
  const place = [
    table,
    ...(chain === undefined ? [] : [`chain ${chain}`]),
    ...(rule === undefined ? [] : [`rule ${rule}`]),
  ];
  const texts = [
    ...(wanted === undefined ? [] : [`wanted ${wanted}`]),
    ...(found === undefined ? [] : [`found ${found}`]),
  ];
  return `${place.join(", ")}: ${kind}${texts.length === 0 ? "" : `: ${texts.join("; ")}`}`;
}
