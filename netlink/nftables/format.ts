/** Tables as text for people and for comparison: expressions in the words of `nft --debug=netlink`. */
import { viewOf } from "../cursor.ts";
import type { AnonymousSet, Chain, Expression, Hook, Rule, Table } from "./model.ts";
import { hasIntervals, joinNeighbours, normalRanges } from "./ranges.ts";

export function formatTable(table: Table): string {
  const chains = table.chains.map((chain) => formatChain(chain)).join("");
  const flags = table.flags === undefined || table.flags === 0 ? "" : ` flags ${table.flags}`;
  return `table ${table.family} ${table.name}${flags}\n${chains}`;
}

function formatChain(chain: Chain): string {
  const rules = chain.rules.map((rule) => `    ${formatRule(rule)}\n`).join("");
  return `  chain ${chain.name} ${formatHook(chain.hook)}\n${rules}`;
}

/** Everything that makes a base chain what it is; "regular" for one that has no hook. */
export function formatHook(hook: Hook | undefined): string {
  if (hook === undefined) return "regular";
  const devices = hook.devices === undefined ? "" : ` devices ${[...hook.devices].sort().join(",")}`;
  return `type ${hook.type} hook ${hook.hook}${devices} priority ${hook.priority} policy ${hook.policy}`;
}

/** On one line. Equal text means equal rules, but for the counts of counters. */
export function formatRule(rule: Rule): string {
  return rule.expressions.map(formatExpression).join(" ");
}

const operatorText = { "==": "eq", "!=": "neq", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte" } as const;

export function formatExpression(expression: Expression): string {
  switch (expression.kind) {
    case "metaLoad":
      return `[ meta load ${expression.key} => reg 1 ]`;
    case "metaSet":
      return `[ meta set ${expression.key} with reg 1 ]`;
    case "ctLoad":
      return `[ ct load ${expression.key} => reg 1 ]`;
    case "ctSet":
      return `[ ct set ${expression.key} with reg 1 ]`;
    case "payloadLoad":
      return `[ payload load ${expression.length}b @ ${expression.base} header + ${expression.offset} => reg 1 ]`;
    case "bitwise":
      return `[ bitwise reg 1 = ( reg 1 & ${words(expression.mask)} ) ^ ${words(expression.xor)} ]`;
    case "compare":
      return `[ cmp ${operatorText[expression.operator]} reg 1 ${words(expression.data)} ]`;
    case "immediate":
      return `[ immediate reg 1 ${words(expression.data)} ]`;
    case "lookup":
      return `[ lookup reg 1 set ${formatSet(expression.set)}${expression.invert ? " 0x1" : ""} ]`;
    case "counter":
      return "[ counter ]";
    case "queue":
      return formatQueue(expression);
    case "verdict":
      return `[ immediate reg 0 ${expression.verdict}${"chain" in expression ? ` -> ${expression.chain}` : ""} ]`;
    case "unknown":
      return `[ unknown ${expression.name} ${Buffer.from(expression.data).toString("hex")} ]`;
  }
}

function formatQueue({ number, total, bypass, fanout }: Expression & { kind: "queue" }): string {
  const queues = total === 1 ? `${number}` : `${number}-${number + total - 1}`;
  return `[ queue num ${queues}${bypass ? " bypass" : ""}${fanout ? " fanout" : ""} ]`;
}

function formatSet(set: AnonymousSet): string {
  const ranges = hasIntervals(set) ? joinNeighbours(set.ranges) : normalRanges(set.ranges);
  const hex = (key: Uint8Array): string => Buffer.from(key).toString("hex");
  const items = ranges.map(({ from, to }) => (hex(from) === hex(to) ? hex(from) : `${hex(from)}-${hex(to)}`));
  return `${set.keyType} { ${items.join(", ")} }`;
}

/** Registers as nft prints them: little-endian 32-bit words. */
function words(data: Uint8Array): string {
  const padded = new Uint8Array((data.length + 3) & ~3);
  padded.set(data);
  const view = viewOf(padded);
  const texts: string[] = [];
  for (let offset = 0; offset < padded.length; offset += 4) {
    texts.push(`0x${view.getUint32(offset, true).toString(16).padStart(8, "0")}`);
  }
  return texts.join(" ");
}
