/** Owns the answer to "why": what every policy and rule says about one question at one end, and what each rule that doesn't match lacks. */
import { type Cidr, contains, formatAddress, parseCidr } from "./addresses.ts";
import type { Attributes } from "./attributes.ts";
import type { Endpoint } from "./both-ends.ts";
import type { Action, Direction, Peer, Policy, Requirement, Rule, SelectorPeer } from "./model.ts";
import { meets } from "./selector.ts";

/** One end's question, in the terms of `CompiledPolicy`. */
export interface EndQuestion {
  readonly direction: Direction;
  readonly self: Attributes;
  readonly peer: Endpoint;
  /** IP protocol number. */
  readonly protocol: number;
  readonly port: number;
}

export interface PolicyExplanation {
  readonly policy: string;
  /** Why this policy is not for this unit; undefined if it is. */
  readonly notSelected: string | undefined;
  /** Its rules of this direction; empty if the policy is not for this unit. */
  readonly rules: readonly RuleExplanation[];
}

export interface RuleExplanation {
  readonly rule: string;
  readonly action: Action;
  /** What keeps the rule from matching; undefined if it matches. */
  readonly unmet: string | undefined;
}

/** Walks through all policies; for people, not for the datapath. */
export function explain(policy: Policy, question: EndQuestion): PolicyExplanation[] {
  return policy.policies.map((named) => {
    const unmet = firstUnmet(named.subject, question.self);
    if (unmet !== undefined) return { policy: named.name, notSelected: `the unit lacks ${unmet}`, rules: [] };
    const rules = named[question.direction].map((rule) => explainRule(rule, question));
    return { policy: named.name, notSelected: undefined, rules };
  });
}

function explainRule(rule: Rule, question: EndQuestion): RuleExplanation {
  return {
    rule: rule.name,
    action: rule.action,
    unmet: unmetPeers(rule.peers, question) ?? unmetPorts(rule, question),
  };
}

function unmetPeers(peers: readonly Peer[], question: EndQuestion): string | undefined {
  const faults = peers.map((peer) => unmetPeer(peer, question));
  return faults.includes(undefined) ? undefined : [...new Set(faults)].join("; or ");
}

function unmetPeer(peer: Peer, { peer: other, self }: EndQuestion): string | undefined {
  if (peer.kind === "address")
    return other.kind === "address" ? unmetBlock(peer, other.address) : "the peer has an identity";
  if (other.kind === "address") return "the peer has no identity";
  const unmet =
    firstUnmet(peer.requirements, other.attributes) ?? firstUnshared(peer, self, other.attributes);
  return unmet === undefined ? undefined : `the peer lacks ${unmet}`;
}

function unmetBlock(
  peer: { cidr: string; except: readonly string[] },
  address: Uint8Array,
): string | undefined {
  const has = (text: string): boolean => contains(parseCidr(text) as Cidr, address);
  if (!has(peer.cidr)) return `${formatAddress(address)} is not in ${peer.cidr}`;
  const hole = peer.except.find(has);
  return hole === undefined ? undefined : `${formatAddress(address)} is excepted by ${hole}`;
}

function firstUnmet(requirements: readonly Requirement[], attributes: Attributes): string | undefined {
  const unmet = requirements.find((requirement) => !meets(requirement, attributes));
  return unmet === undefined ? undefined : formatRequirement(unmet);
}

function firstUnshared(peer: SelectorPeer, self: Attributes, other: Attributes): string | undefined {
  const shares = (key: string): boolean =>
    (self.get(key) ?? []).some((value) => other.get(key)?.includes(value));
  const key = peer.sameAs.find((one) => !shares(one));
  return key === undefined ? undefined : `the unit's own ${key}`;
}

/** `tier In (a, b)`, as kubectl writes selectors. */
function formatRequirement(requirement: Requirement): string {
  const { key, operator } = requirement;
  if (!("values" in requirement)) return `${key} ${operator}`;
  const { values } = requirement;
  if (operator === "In" && values.length === 1) return `${key}=${values.join()}`;
  if (operator === "NotIn" && values.length === 1) return `${key}!=${values.join()}`;
  return `${key} ${operator} (${values.join(", ")})`;
}

function unmetPorts(rule: Rule, { protocol, port }: EndQuestion): string | undefined {
  const has = rule.ports?.some(
    (range) => range.protocol === protocol && range.first <= port && port <= range.last,
  );
  return has === false ? "its ports are others" : undefined;
}
