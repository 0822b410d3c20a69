/** Owns a second, independent evaluator for the tests: no index, no cache, no shared code; written from the README's semantics alone. */
import type { Attributes } from "../../enforcer/policy/attributes.ts";
import type { Decision, Direction, Peer, Policy, Requirement, Rule } from "../../enforcer/policy/model.ts";

type Question = { direction: Direction; self: Attributes; protocol: number; port: number };

/** The decision on a peer with identity. */
export function naiveEvaluate(policy: Policy, question: Question & { peer: Attributes }): Decision {
  const { self, peer } = question;
  const matches = (rule: Rule): boolean =>
    rule.peers.some(
      (candidate) =>
        candidate.kind === "selector" &&
        candidate.requirements.every((one) => holds(one, peer)) &&
        candidate.sameAs.every((key) =>
          (self.get(key) ?? []).some((mine) => (peer.get(key) ?? []).includes(mine)),
        ),
    );
  return decide(policy, question, matches, "rule-allow", "rule-deny", "no-rule");
}

/** The decision on a peer without identity; the address as dotted IPv4 or eight hexadecimal groups, already read as a number. */
export function naiveEvaluateAddress(
  policy: Policy,
  question: Question & { family: 4 | 6; address: bigint },
): Decision {
  const inside = (cidr: string): boolean => inBlock(cidr, question.family, question.address);
  const matches = (rule: Rule): boolean =>
    rule.peers.some(
      (peer: Peer) => peer.kind === "address" && inside(peer.cidr) && !peer.except.some(inside),
    );
  return decide(policy, question, matches, "address-allow", "address-deny", "no-address-rule");
}

function decide(
  policy: Policy,
  question: Question,
  matches: (rule: Rule) => boolean,
  allowed: Decision["reason"],
  denied: Decision["reason"],
  missing: Decision["reason"],
): Decision {
  const rules = policy.policies
    .filter((named) => named.subject.every((one) => holds(one, question.self)))
    .flatMap((named) => named[question.direction]);
  if (rules.length === 0) return { verdict: "deny", reason: "no-policy", rule: undefined };
  const hits = rules.filter((rule) => matches(rule) && hasPort(rule, question));
  const deny = hits.find((rule) => rule.action === "deny");
  if (deny !== undefined) return { verdict: "deny", reason: denied, rule: deny.name };
  const allow = hits.find((rule) => rule.action === "allow");
  if (allow !== undefined) return { verdict: "allow", reason: allowed, rule: allow.name };
  return { verdict: "deny", reason: missing, rule: undefined };
}

function hasPort(rule: Rule, { protocol, port }: Question): boolean {
  if (rule.ports === undefined) return true;
  return rule.ports.some((range) => range.protocol === protocol && port >= range.first && port <= range.last);
}

function holds(requirement: Requirement, attributes: Attributes): boolean {
  const values = attributes.get(requirement.key) ?? [];
  if (!("values" in requirement)) return (requirement.operator === "Exists") === values.length > 0;
  const wanted = requirement.values;
  const any = values.some((value) =>
    wanted.some((one) =>
      requirement.operator === "Prefix" ? value.slice(0, one.length) === one : value === one,
    ),
  );
  return requirement.operator === "NotIn" ? !any : any;
}

function inBlock(cidr: string, family: 4 | 6, address: bigint): boolean {
  const [text = "", length = ""] = cidr.split("/");
  if (text.includes(":") !== (family === 6)) return false;
  const rest = BigInt((family === 4 ? 32 : 128) - Number(length));
  return address >> rest === toNumber(text) >> rest;
}

/** Canonical text to number, by another way than the code under test. */
export function toNumber(text: string): bigint {
  if (!text.includes(":")) return text.split(".").reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  const [head = "", tail = ""] = text.split("::");
  const left = head.split(":").filter(Boolean);
  const right = tail.split(":").filter(Boolean);
  const zeros = Array<string>(8 - left.length - right.length).fill("0");
  return [...left, ...zeros, ...right].reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n);
}
