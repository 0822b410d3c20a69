/**
 * Owns our tables as a namespace's kernel has them: reading, replacing and removing all of them in one go, and whether the
 * kernel has the hook that the egress table needs. The enforcer imports it too.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { NetlinkError } from "../netlink/error.ts";
import { action, match, netdevRule } from "../netlink/nftables/builder.ts";
import type { Table } from "../netlink/nftables/model.ts";
import type { Nftables } from "../netlink/nftables/nftables.ts";
import { egressFamily, tableFamily, tableName } from "./rule-set.ts";

/** Our tables as they are at one moment; undefined where there is none. */
export interface FoundTables {
  readonly inet: Table | undefined;
  readonly egress: Table | undefined;
}

/** Throws `NetlinkError`. */
export function readTables(nftables: Nftables): FoundTables {
  const [inet, egress] = nftables.readAll([
    { family: tableFamily, name: tableName },
    { family: egressFamily, name: tableName },
  ]);
  return { inet, egress };
}

/** Done as well where there is none: a kernel without the family refuses even to delete in it. Throws `NetlinkError`. */
export function removeTables(nftables: Nftables): void {
  const { egress } = readTables(nftables);
  const inet = { family: tableFamily, name: tableName } as const;
  nftables.remove(egress === undefined ? [inet] : [inet, egress]);
}

const EOPNOTSUPP = 95;
const EAFNOSUPPORT = 97;

/** Whether tables were refused because the kernel has no egress hook (before 5.16, or built without), and for no other reason. */
export function lacksEgress(error: unknown): boolean {
  if (!(error instanceof NetlinkError) || !error.operation.includes(`: ${egressFamily} `)) return false;
  return error.errno === EOPNOTSUPP || error.errno === EAFNOSUPPORT;
}

/** Tries with a table of its own, on the loopback interface, that lets everything pass and goes again. Throws `NetlinkError`. */
export function hasEgress(nftables: Nftables): boolean {
  const hook = { type: "filter", hook: "egress", priority: 0, policy: "accept", devices: ["lo"] } as const;
  const rules = [netdevRule(match.hasRoute(), action.accept())];
  const probe: Table = {
    family: egressFamily,
    name: `${tableName}_probe`,
    chains: [{ name: "egress", hook, rules }],
  };
  try {
    nftables.replace([probe]);
  } catch (error) {
    if (lacksEgress(error)) return false;
    throw error;
  }
  nftables.remove([probe]);
  return true;
}

/** A seal for a namespace that has none, from the kernel itself: loading node:crypto costs the plugin more than all the rules. */
export function newSeal(): number {
  const bytes = Buffer.alloc(4);
  const fd = openSync("/dev/urandom", "r");
  try {
    readSync(fd, bytes);
  } finally {
    closeSync(fd);
  }
  return bytes.readUInt32LE() || 1;
}
