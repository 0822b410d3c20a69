/**
 * Owns what a table of ours says about itself, in the names of empty chains: whose rules it has, and which interfaces it
 * keeps closed though their attachment has left. So the namespace knows it, whatever becomes of plugin and enforcer. Pure.
 */
import { action, match, rule } from "../netlink/nftables/builder.ts";
import type { Chain, Rule, Table } from "../netlink/nftables/model.ts";

/** An attachment that the table enforces. */
export interface RuleOwner {
  /** 16 hex digits. */
  readonly puId: string;
  readonly interfaceName: string;
}

const closedPrefix = "closed_";
/** IFNAMSIZ, less the zero at the end. */
const interfaceNameBytes = 15;

export function ownerChain({ puId, interfaceName }: RuleOwner): Chain {
  return { name: `pu_${puId}_${interfaceName}`, rules: [] };
}

export function closedChain(interfaceName: string): Chain {
  return { name: `${closedPrefix}${interfaceName}`, rules: [] };
}

/** Whose rules a table of ours holds, in the table's order. */
export function ruleOwners(table: Table | undefined): RuleOwner[] {
  return (table?.chains ?? []).flatMap(({ name }) => ownerOfChain(name) ?? []);
}

/** The interfaces that a table of ours keeps closed, in the table's order: none that an owner has. */
export function closedInterfaces(table: Table | undefined): string[] {
  const owned = new Set(ruleOwners(table).map(({ interfaceName }) => interfaceName));
  return (table?.chains ?? [])
    .filter(({ name }) => name.startsWith(closedPrefix))
    .map(({ name }) => name.slice(closedPrefix.length))
    .filter((name) => isInterfaceName(name) && !owned.has(name));
}

/** A pod can make chains of any name: what can be no interface's is nobody's. */
export function isInterfaceName(name: string): boolean {
  return name !== "" && Buffer.byteLength(name) <= interfaceNameBytes;
}

/** What comes first for packets from closed interfaces; `closeTo` for those to them. */
export function closeFrom(interfaceNames: readonly string[]): Rule[] {
  return interfaceNames.map((name) => rule(match.inputInterface(name), action.drop()));
}

export function closeTo(interfaceNames: readonly string[]): Rule[] {
  return interfaceNames.map((name) => rule(match.outputInterface(name), action.drop()));
}

/**
 * The table without an owner. Its interface is closed from now on, unless another owner has it: the runtime calls us
 * before the plugin that made it, and until that one has removed it, nobody judges what it carries.
 */
export function withoutOwner(table: Table, puId: string): Table {
  const leaving = ruleOwners(table).filter((owner) => owner.puId === puId);
  const chains = table.chains.filter(({ name }) => ownerOfChain(name)?.puId !== puId);
  const rest: Table = { ...table, chains };
  const used = new Set(ruleOwners(rest).map(({ interfaceName }) => interfaceName));
  return leaving.filter(({ interfaceName }) => !used.has(interfaceName)).reduce(closing, rest);
}

function closing(table: Table, { interfaceName }: RuleOwner): Table {
  const place = closedInterfaces(table).length;
  const drops: Readonly<Record<string, Rule[]>> = {
    in_raw: closeFrom([interfaceName]),
    out: closeTo([interfaceName]),
  };
  const chains = table.chains.map((chain) => ({
    ...chain,
    rules: chain.rules.toSpliced(place, 0, ...(drops[chain.name] ?? [])),
  }));
  return { ...table, chains: [...chains, closedChain(interfaceName)] };
}

function ownerOfChain(chain: string): RuleOwner | undefined {
  const [, puId, interfaceName] = /^pu_([0-9a-f]{16})_(.+)$/s.exec(chain) ?? [];
  return puId === undefined || interfaceName === undefined ? undefined : { puId, interfaceName };
}
