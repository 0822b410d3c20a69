/**
 * Owns putting a pod's rules into its namespace, proving that they are there, and taking them out again.
 * Rules come before settings: without rules nothing else matters.
 */
import type { AddAnswer, AttachmentKey } from "../enforcer/control/messages.ts";
import { compareTables } from "../netlink/nftables/compare.ts";
import type { Table } from "../netlink/nftables/model.ts";
import { CniError } from "./cni-error.ts";
import type { PodNamespace } from "./pod-namespace.ts";
import { renderRuleSet, ruleOwners, withoutOwner } from "./rule-set.ts";
import type { RuleOwner } from "./rule-set.ts";
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
    const others = ruleOwners(before).filter(({ puId }) => puId !== owner.puId);
    attempt("install the rules", () => namespace.replaceRules(render([...others, owner], answer)));
    const problem = findAlteration(namespace, owner, answer);
    if (problem !== undefined)
      throw new CniError("rulesNotInstalled", `the rules read back differ: ${problem}`);
    undo.push(attempt("set the sysctls", () => applySettings(namespace)));
    return undoAll;
  } catch (error) {
    undoAll();
    throw error;
  }
}

/** What of the attachment's rules isn't as `install` writes it; undefined where all is. */
export function findAlteration(
  namespace: PodNamespace,
  owner: RuleOwner,
  answer: AddAnswer,
): string | undefined {
  const found = attempt("read the rules back", () => namespace.readRules());
  const owners = ruleOwners(found);
  if (found === undefined) return "the table is missing";
  if (!owners.some(({ puId }) => puId === owner.puId)) return "the table isn't this attachment's";
  const [wanted] = render(owners, answer);
  const [difference] = wanted === undefined ? [] : compareTables(wanted, found);
  return difference === undefined ? undefined : JSON.stringify(difference);
}

/** Takes the attachment's mark out of the namespace, and the rules as well when no other attachment needs them. Throws what the kernel refuses. */
export function uninstall(namespace: PodNamespace, owner: RuleOwner): void {
  const found = namespace.readRules();
  const owners = ruleOwners(found);
  if (found === undefined || !owners.some(({ puId }) => puId === owner.puId)) return;
  if (owners.length === 1) namespace.removeRules();
  else namespace.replaceRules([withoutOwner(found, owner)]);
}

function render(owners: readonly RuleOwner[], answer: AddAnswer): readonly Table[] {
  const interfaceNames = [...new Set(owners.map(({ interfaceName }) => interfaceName))];
  return renderRuleSet({
    interfaceNames,
    markMask: answer.markMask,
    onLinkPrefixes6: answer.onLinkPrefixes6,
    owners,
  });
}

function restore(namespace: PodNamespace, before: Table | undefined): void {
  if (before === undefined) namespace.removeRules();
  else namespace.replaceRules([before]);
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
