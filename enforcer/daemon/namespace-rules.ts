/**
 * Owns what the rules of a pod's namespace should be, given the PUs that live there and what its table says of others: the
 * guard puts that back, and a release puts it in the place of what was.
 */
import { Nftables } from "../../netlink/nftables/nftables.ts";
import type { Table } from "../../netlink/nftables/model.ts";
import { parseAddress } from "../../netlink/prefix.ts";
import { Route } from "../../netlink/route.ts";
import { isLinkLocal } from "../../plugin/egress-rules.ts";
import { closedInterfaces, isInterfaceName, ruleOwners, type RuleOwner } from "../../plugin/rule-owners.ts";
import { markMaskOf, renderRuleSet, sealOf } from "../../plugin/rule-set.ts";
import { newSeal, readTables, removeTables, type FoundTables } from "../../plugin/rule-tables.ts";
import { addressesOf, onLinkPrefixesOf, type PuRecord } from "../control/pu-record.ts";

/** Attachments that are kept closed in one namespace without a PU of ours. */
const OTHERS_MAX = 16;

/** Those of a namespace, by interface index. */
export interface Interfaces {
  readonly names: ReadonlyMap<number, string>;
  readonly linkLocals: ReadonlyMap<number, Uint8Array[]>;
}

/** What of the wanted rules the namespace decides. */
export interface Rendering {
  readonly owners: readonly RuleOwner[];
  /** Interfaces of attachments that have left. */
  readonly closedNames: readonly string[];
  /** Interfaces of both that exist. */
  readonly present: readonly string[];
  /** Those of the owners. */
  readonly linkLocals: readonly Uint8Array[];
}

/** Throws `NetlinkError`. */
export function readInterfaces(netnsFd: number): Interfaces {
  const route = Route.open({ netns: netnsFd });
  try {
    const addresses = route.addresses().filter(({ prefix }) => isLinkLocal(prefix.address));
    const linkLocals = Map.groupBy(addresses, ({ index }) => index);
    return {
      names: new Map(route.links().map(({ index, name }) => [index, name])),
      linkLocals: new Map(
        [...linkLocals].map(([index, own]) => [index, own.map(({ prefix }) => prefix.address)]),
      ),
    };
  } finally {
    route.close();
  }
}

/**
 * What a namespace's rules are rendered from: the owners that we know, whoever else its table names, and the interfaces
 * that it keeps closed and that are there. What is enforced never becomes less here, but for the PU that is `leaving`: one
 * that we could not take up stays closed.
 */
export function renderingOf(
  ours: readonly RuleOwner[],
  found: Table | undefined,
  { names, linkLocals }: Interfaces,
  leaving?: string,
): Rendering {
  const others = ruleOwners(found).filter(
    ({ puId, interfaceName }) =>
      puId !== leaving && isInterfaceName(interfaceName) && !ours.some((owner) => owner.puId === puId),
  );
  const owners = [...ours, ...others.slice(0, OTHERS_MAX)];
  const owned = new Set(owners.map(({ interfaceName }) => interfaceName));
  const there = new Set(names.values());
  const closedNames = closedInterfaces(found).filter((name) => there.has(name) && !owned.has(name));
  const own = [...names].filter(([, name]) => owned.has(name));
  return {
    owners,
    closedNames: closedNames.slice(0, OTHERS_MAX),
    present: [...own.map(([, name]) => name), ...closedNames.slice(0, OTHERS_MAX)],
    linkLocals: own.flatMap(([index]) => linkLocals.get(index) ?? []),
  };
}

export interface RenderOptions {
  /** The PUs whose addresses may be used. */
  readonly records: readonly PuRecord[];
  readonly markMask: number;
  /** Undefined: no egress table. */
  readonly seal: number | undefined;
}

/** The tables as they should be. */
export function renderNamespace(rendering: Rendering, options: RenderOptions): readonly Table[] {
  const { owners, closedNames, present, linkLocals } = rendering;
  const { records, markMask, seal } = options;
  const addresses = addressesOf(records).flatMap((text) => parseAddress(text) ?? []);
  const hasEgress = seal !== undefined && present.length > 0;
  return renderRuleSet({
    interfaceNames: [...new Set(owners.map(({ interfaceName }) => interfaceName))],
    owners,
    closedNames,
    markMask,
    onLinkPrefixes6: onLinkPrefixesOf(records),
    egress: hasEgress ? { seal, addresses, linkLocals, interfaceNames: present } : undefined,
  });
}

/**
 * Opens a PU's interface. `staying` are the other PUs of its namespace: they, and whoever else the table names, are enforced
 * without a gap; undefined opens all of them. Throws `NetlinkError`, and `Error` where the rules are not as we left them.
 */
export function releaseRules(netnsFd: number, puId: string, staying: readonly PuRecord[] | undefined): void {
  const nftables = Nftables.open({ netns: netnsFd });
  try {
    const tables =
      staying === undefined ? undefined : tablesWithout(netnsFd, puId, staying, readTables(nftables));
    if (tables === undefined) removeTables(nftables);
    else nftables.replace(tables);
  } finally {
    nftables.close();
  }
}

/** Undefined where nobody is left. */
function tablesWithout(
  netnsFd: number,
  puId: string,
  staying: readonly PuRecord[],
  { inet, egress }: FoundTables,
): readonly Table[] | undefined {
  const named = ruleOwners(inet);
  const nameOf = ({ id, ifname }: PuRecord): string =>
    named.find((owner) => owner.puId === id)?.interfaceName ?? ifname;
  const ours = staying.map((record) => ({ puId: record.id, interfaceName: nameOf(record) }));
  const rendering = renderingOf(ours, inet, readInterfaces(netnsFd), puId);
  if (rendering.owners.length === 0) return undefined;
  const markMask = markMaskOf(inet);
  if (markMask === undefined)
    throw new Error("the rules of its namespace were altered; try again, or release all of its units");
  const seal = sealOf(inet) ?? (egress === undefined ? undefined : 0);
  return renderNamespace(rendering, { records: staying, markMask, seal: seal === 0 ? newSeal() : seal });
}
