/** Owns what the policies mean for one kind of unit in one direction: its rules, bound to its own attributes, indexed by peer and by address. */
import { type Cidr, parseCidr } from "./addresses.ts";
import type { Attributes } from "./attributes.ts";
import { type CidrEntry, CidrTree } from "./cidr-tree.ts";
import type { AddressPeer, Decision, Requirement, Rule, SelectorPeer } from "./model.ts";
import { type PortRule, PortTable } from "./port-table.ts";
import { SelectorIndex } from "./selector.ts";
import type { Steps } from "./steps.ts";

/** One policy's rules of one direction. */
export interface PreparedPolicy {
  readonly rules: readonly PreparedRule[];
}

/** A rule, split by what its peers are. */
interface PreparedRule {
  readonly selectors: readonly SelectorPeer[];
  readonly blocks: readonly { readonly cidr: Cidr; readonly except: readonly Cidr[] }[];
  readonly byIdentity: OrderedRule;
  readonly byAddress: OrderedRule;
}

interface OrderedRule extends PortRule {
  /** Place in the file. */
  readonly order: number;
}

const MAX_PEERS = 8_192;

const noPolicy: Decision = Object.freeze({ verdict: "deny", reason: "no-policy", rule: undefined });
const noRule: Decision = Object.freeze({ verdict: "deny", reason: "no-rule", rule: undefined });
const noAddressRule: Decision = Object.freeze({
  verdict: "deny",
  reason: "no-address-rule",
  rule: undefined,
});

export function prepareRule(rule: Rule, order: number): PreparedRule {
  const isAllow = rule.action === "allow";
  const ordered = (reason: Decision["reason"]): OrderedRule => ({
    order,
    action: rule.action,
    ports: rule.ports,
    decision: Object.freeze({ verdict: rule.action, reason, rule: rule.name }),
  });
  return {
    selectors: rule.peers.filter((peer) => peer.kind === "selector"),
    blocks: rule.peers.filter((peer) => peer.kind === "address").map(prepareBlock),
    byIdentity: ordered(isAllow ? "rule-allow" : "rule-deny"),
    byAddress: ordered(isAllow ? "address-allow" : "address-deny"),
  };
}

function prepareBlock(peer: AddressPeer): { cidr: Cidr; except: readonly Cidr[] } {
  return { cidr: cidrOf(peer.cidr), except: peer.except.map(cidrOf) };
}

function cidrOf(text: string): Cidr {
  const cidr = parseCidr(text);
  if ("error" in cidr) throw new RangeError(cidr.error);
  return cidr;
}

/** What a view is made of: two units with the same text share one view. */
export function viewKey(policies: readonly PreparedPolicy[], self: Attributes): string {
  const rules = policies.flatMap((policy) => policy.rules);
  const keys = new Set(rules.flatMap((rule) => rule.selectors.flatMap((peer) => peer.sameAs)));
  const shared = [...keys].map((key) => [key, self.get(key) ?? null]);
  return JSON.stringify([policies.map((policy) => policy.rules[0]?.byIdentity.order), shared]);
}

/** Caches one table of ports per peer, the oldest leaving first; memory is bounded whatever the peers. */
export class UnitView {
  readonly #identityRules: SelectorIndex<OrderedRule>;
  readonly #addressRules: CidrTree<OrderedRule>;
  readonly #byPeer = new Map<number, PortTable>();
  readonly #byBlock = new WeakMap<readonly OrderedRule[], PortTable>();
  readonly #hasRules: boolean;
  readonly #allowsByIdentity: readonly PortRule[];

  private constructor(
    bound: readonly BoundSelector[],
    identityRules: SelectorIndex<OrderedRule>,
    addressRules: CidrTree<OrderedRule>,
    hasRules: boolean,
  ) {
    this.#hasRules = hasRules;
    this.#identityRules = identityRules;
    this.#addressRules = addressRules;
    this.#allowsByIdentity = bound.map((entry) => entry.value).filter((rule) => rule.action === "allow");
  }

  static *build(policies: readonly PreparedPolicy[], self: Attributes): Steps<UnitView> {
    const bound: BoundSelector[] = [];
    const blocks: CidrEntry<OrderedRule>[] = [];
    let hasRules = false;
    for (const rule of policies.flatMap((policy) => policy.rules)) {
      hasRules = true;
      for (const entry of bindSelectors(rule, self)) bound.push(entry);
      for (const entry of blockEntries(rule)) blocks.push(entry);
      yield undefined;
    }
    return new UnitView(bound, yield* SelectorIndex.build(bound), yield* CidrTree.build(blocks), hasRules);
  }

  /** `peerId` is the interned number of `peer`. */
  judgeIdentity(peerId: number, peer: Attributes, protocol: number, port: number): Decision {
    let table = this.#byPeer.get(peerId);
    if (table === undefined) {
      table = new PortTable(inOrder(this.#identityRules.find(peer)), this.#hasRules ? noRule : noPolicy);
      this.#remember(peerId, table);
    }
    return table.decide(protocol, port);
  }

  judgeAddress(address: Uint8Array, protocol: number, port: number): Decision {
    const rules = this.#addressRules.lookup(address);
    let table = this.#byBlock.get(rules);
    if (table === undefined) {
      table = new PortTable(inOrder(rules), this.#hasRules ? noAddressRule : noPolicy);
      this.#byBlock.set(rules, table);
    }
    return table.decide(protocol, port);
  }

  /** Whether an allow rule could match some identity on some port of this protocol. */
  mayMatchIdentity(protocol: number): boolean {
    return this.#allowsByIdentity.some(
      (rule) => rule.ports?.some((range) => range.protocol === protocol) ?? true,
    );
  }

  #remember(peerId: number, table: PortTable): void {
    if (this.#byPeer.size >= MAX_PEERS) this.#byPeer.delete(this.#byPeer.keys().next().value ?? peerId);
    this.#byPeer.set(peerId, table);
  }
}

interface BoundSelector {
  readonly requirements: readonly Requirement[];
  readonly value: OrderedRule;
}

/** A rule's selectors with `sameAs` replaced by this unit's own values; one whose key the unit lacks can match nobody and is left out. */
function bindSelectors(rule: PreparedRule, self: Attributes): BoundSelector[] {
  return rule.selectors
    .filter((peer) => peer.sameAs.every((key) => self.has(key)))
    .map((peer) => ({
      requirements: [...peer.requirements, ...peer.sameAs.map((key) => sharesValue(key, self))],
      value: rule.byIdentity,
    }));
}

function sharesValue(key: string, self: Attributes): Requirement {
  return { operator: "In", key, values: self.get(key) ?? [] };
}

function blockEntries(rule: PreparedRule): CidrEntry<OrderedRule>[] {
  return rule.blocks.map((block) => ({ ...block, value: rule.byAddress }));
}

/** Each rule once, as in the file. */
function inOrder(rules: readonly OrderedRule[]): OrderedRule[] {
  return [...new Set(rules)].sort((left, right) => left.order - right.order);
}
