/**
 * Owns putting a pod's rules into its namespace, proving that they are there, and taking them out again.
 * Rules come before settings: without rules nothing else matters.
 */
import type { AddAnswer, AttachmentKey } from "../enforcer/control/messages.ts";
import { compareTables } from "../netlink/nftables/compare.ts";
import type { Table } from "../netlink/nftables/model.ts";
import { parseAddress } from "../netlink/prefix.ts";
import { CniError } from "./cni-error.ts";
import {
  devicesOf,
  isLinkLocal,
  linkLocalsOf,
  withoutAddresses,
  type EgressParameters,
} from "./egress-rules.ts";
import type { PodNamespace } from "./pod-namespace.ts";
import { closedInterfaces, ruleOwners, withoutOwner, type RuleOwner } from "./rule-owners.ts";
import { renderRuleSet, sealOf } from "./rule-set.ts";
import { lacksEgress, newSeal, type FoundTables } from "./rule-tables.ts";
import { applySettings } from "./sysctls.ts";

/**
 * Whose rules an attachment's are, computed as the enforcer does it, for DEL, which must do without an answer. The module
 * is loaded here only: it costs every other verb a tenth of its time.
 */
export function ownerOf({ network, containerId, ifname }: AttachmentKey): RuleOwner {
  const { createHash } = process.getBuiltinModule("node:crypto");
  const digest = createHash("sha256").update(`${network}\0${containerId}\0${ifname}`).digest("hex");
  return { puId: digest.slice(0, 16), interfaceName: ifname };
}

/**
 * Installs the rules beside those of other attachments of this namespace, reads them back, and applies the settings.
 * Gives what undoes all of it. Throws a `CniError` with code 111, everything undone.
 */
export function install(namespace: PodNamespace, owner: RuleOwner, answer: AddAnswer): () => void {
  const before = attempt("read the rules of the namespace", () => namespace.readRules());
  const undo = [(): void => restore(namespace, before)];
  const undoAll = (): void => undo.splice(0).forEach((step) => attemptQuietly(step));
  try {
    const seal = sealOf(before.inet) ?? 0;
    const installed = attempt("install the rules", () =>
      replace(namespace, beside(namespace, before, owner), answer, seal === 0 ? newSeal() : seal),
    );
    const found = attempt("read the rules back", () => namespace.readRules());
    const problem = firstDifference(installed, found);
    if (problem !== undefined)
      throw new CniError("rulesNotInstalled", `the rules read back differ: ${problem}`);
    undo.push(attempt("set the sysctls", () => applySettings(namespace)));
    return undoAll;
  } catch (error) {
    undoAll();
    throw error;
  }
}

/** What a table is for: the attachments that it enforces, and interfaces of those that have left. */
interface Scope {
  readonly owners: readonly RuleOwner[];
  readonly closedNames: readonly string[];
}

/** The scope of a table with one more owner; closed interfaces stay so while they are there. */
function beside(namespace: PodNamespace, { inet }: FoundTables, owner: RuleOwner): Scope {
  const others = ruleOwners(inet).filter(({ puId }) => puId !== owner.puId);
  const closedNames = closedInterfaces(inet).filter(
    (name) => name !== owner.interfaceName && namespace.addressesOf(name) !== undefined,
  );
  return { owners: [...others, owner], closedNames };
}

/** With the egress table where the kernel has its hook, else without; both tables come in one batch. Gives what it wrote. */
function replace(namespace: PodNamespace, scope: Scope, answer: AddAnswer, seal: number): readonly Table[] {
  const linkLocals = scope.owners.flatMap(({ interfaceName }) => ownLinkLocals(namespace, interfaceName));
  const tables = render(scope, answer, { seal, linkLocals });
  try {
    namespace.replaceRules(tables);
    return tables;
  } catch (error) {
    if (!lacksEgress(error)) throw error;
    const without = render(scope, answer, undefined);
    namespace.replaceRules(without);
    return without;
  }
}

function firstDifference([inet, egress]: readonly Table[], found: FoundTables): string | undefined {
  const differences = [
    ...(inet === undefined ? [] : compareTables(inet, found.inet)),
    ...(egress === undefined ? [] : compareTables(egress, found.egress)),
  ];
  return differences[0] === undefined ? undefined : JSON.stringify(differences[0]);
}

/** What of the attachment's rules isn't as `install` writes it; undefined where all is. */
export function findAlteration(
  namespace: PodNamespace,
  owner: RuleOwner,
  answer: AddAnswer,
): string | undefined {
  const found = attempt("read the rules back", () => namespace.readRules());
  const owners = ruleOwners(found.inet);
  if (found.inet === undefined) return "the table is missing";
  if (!owners.some(({ puId }) => puId === owner.puId)) return "the table isn't this attachment's";
  const sealing = attempt("look for the egress hook", () => sealingOf(namespace, found, owners));
  if (sealing === "missing") return "the egress rules are missing";
  return firstDifference(
    render({ owners, closedNames: closedInterfaces(found.inet) }, answer, sealing),
    found,
  );
}

type Sealing = Omit<EgressParameters, "addresses">;

/**
 * What an untouched egress table is rendered from. A link-local address may appear and go while the pod lives, so that one
 * which the rules don't have yet is no alteration; one that they have and the pod hasn't is.
 */
function sealingOf(
  namespace: PodNamespace,
  found: FoundTables,
  owners: readonly RuleOwner[],
): Sealing | "missing" | undefined {
  const seal = sealOf(found.inet);
  if (seal === undefined) return found.egress !== undefined || namespace.hasEgress() ? "missing" : undefined;
  const own = owners.flatMap(({ interfaceName }) => ownLinkLocals(namespace, interfaceName));
  const linkLocals = linkLocalsOf(found.egress).filter((address) => includes(own, address));
  // The link of a closed interface may have gone, and older kernels forget its name then.
  const devices = devicesOf(found.egress);
  const closed = closedInterfaces(found.inet).filter((name) => devices.includes(name));
  return { seal, linkLocals, interfaceNames: [...interfacesOf(owners), ...closed] };
}

function ownLinkLocals(namespace: PodNamespace, interfaceName: string): Uint8Array[] {
  return (namespace.addressesOf(interfaceName) ?? []).filter(isLinkLocal);
}

function includes(addresses: readonly Uint8Array[], address: Uint8Array): boolean {
  return addresses.some((other) => Buffer.compare(other, address) === 0);
}

/**
 * Takes the rules out of the namespace; where another attachment needs them, the mark and the addresses only, and the
 * interface is closed. Throws what the kernel refuses.
 */
export function uninstall(namespace: PodNamespace, owner: RuleOwner): void {
  const found = namespace.readRules();
  const owners = ruleOwners(found.inet);
  if (found.inet === undefined || !owners.some(({ puId }) => puId === owner.puId)) return;
  if (owners.length === 1) {
    namespace.removeRules();
    return;
  }
  const egress = egressWithout(namespace, found, owner);
  const inet = withoutOwner(found.inet, owner.puId);
  namespace.replaceRules(egress === undefined ? [inet] : [inet, egress]);
}

/** What only the owner's interface has goes; undefined where there is no table. */
function egressWithout(
  namespace: PodNamespace,
  { inet, egress }: FoundTables,
  owner: RuleOwner,
): Table | undefined {
  const seal = sealOf(inet);
  if (egress === undefined || seal === undefined) return undefined;
  const addresses = (ours: boolean): readonly Uint8Array[] =>
    interfacesOf(ruleOwners(inet).filter(({ puId }) => (puId === owner.puId) === ours)).flatMap(
      (name) => namespace.addressesOf(name) ?? [],
    );
  const staying = addresses(false);
  const leaving = addresses(true).filter((address) => !includes(staying, address));
  return withoutAddresses(egress, seal, leaving);
}

function render(
  { owners, closedNames }: Scope,
  answer: AddAnswer,
  sealing: Sealing | undefined,
): readonly Table[] {
  const addresses = answer.sourceAddresses
    .map((text) => parseAddress(text))
    .filter((address) => address !== undefined);
  return renderRuleSet({
    interfaceNames: interfacesOf(owners),
    markMask: answer.markMask,
    onLinkPrefixes6: answer.onLinkPrefixes6,
    owners,
    closedNames,
    egress: sealing === undefined ? undefined : { ...sealing, addresses },
  });
}

function interfacesOf(owners: readonly RuleOwner[]): string[] {
  return [...new Set(owners.map(({ interfaceName }) => interfaceName))];
}

/** Never a moment without rules. Newer ones than `before` (it had no egress table) stay: they are no less closed. */
function restore(namespace: PodNamespace, { inet, egress }: FoundTables): void {
  if (inet === undefined) namespace.removeRules();
  else if (egress !== undefined) namespace.replaceRules([inet, egress]);
  else if (namespace.readRules().egress === undefined) namespace.replaceRules([inet]);
}

function attempt<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof CniError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new CniError("rulesNotInstalled", `can't ${what}: ${reason}`);
  }
}

function attemptQuietly(work: () => void): void {
  try {
    work();
  } catch {
    // Undoing is best effort: DEL follows a failed ADD, and does it again.
  }
}
