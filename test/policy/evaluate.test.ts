import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseAddress } from "../../enforcer/policy/addresses.ts";
import { type Attributes, attributesFromObject } from "../../enforcer/policy/attributes.ts";
import {
  compilePolicy,
  compileSteps,
  type CompiledPolicy,
  type ProtocolName,
} from "../../enforcer/policy/evaluate.ts";
import { emptyPolicy, type Policy, type Rule } from "../../enforcer/policy/model.ts";
import { readSlices, slicePolicy } from "../../enforcer/policy/slices.ts";
import { finish } from "../../enforcer/policy/steps.ts";
import * as arbitrary from "./arbitraries.ts";
import { naiveEvaluate, naiveEvaluateAddress, toNumber } from "./naive.ts";

const names: Record<number, ProtocolName> = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp" };
const direction = fc.constantFrom("ingress" as const, "egress" as const);

/** As the datapath does it, in slices and parts as small as can be; the unit of the first question is made ready before. */
function compileInSlices(policy: Policy, units: (Attributes | undefined)[]): CompiledPolicy {
  const sliced = slicePolicy(policy, { peers: 1, characters: 1 });
  const known = units.filter((unit) => unit !== undefined);
  return finish(compileSteps(readSlices(structuredClone(sliced)), known));
}

describe("compiled policy against the naive evaluator", () => {
  it("gives the same decision on identities", () => {
    const question = fc.record({
      direction,
      self: arbitrary.attributes,
      peer: arbitrary.attributes,
      protocol: arbitrary.protocol,
      port: arbitrary.port,
    });
    const seen = new Set<string>();
    fc.assert(
      fc.property(
        arbitrary.policy,
        fc.array(question, { minLength: 1, maxLength: 12 }),
        (policy, questions) => {
          const compiled = compileInSlices(policy, [questions[0]?.self]);
          for (const one of questions) {
            const decision = compiled.evaluate(
              one.direction,
              one.self,
              one.peer,
              names[one.protocol] ?? "tcp",
              one.port,
            );
            expect(decision).toEqual(naiveEvaluate(policy, one));
            seen.add(decision.reason);
          }
        },
      ),
      { numRuns: 500 },
    );
    expect([...seen].sort()).toEqual(["no-policy", "no-rule", "rule-allow", "rule-deny"]);
  });

  it("gives the same decision on addresses", () => {
    const question = fc.record({
      direction,
      self: arbitrary.attributes,
      address: arbitrary.address,
      protocol: arbitrary.protocol,
      port: arbitrary.port,
    });
    const seen = new Set<string>();
    fc.assert(
      fc.property(
        arbitrary.policy,
        fc.array(question, { minLength: 1, maxLength: 12 }),
        (policy, questions) => {
          const compiled = compileInSlices(policy, [questions[0]?.self]);
          for (const { address, ...rest } of questions) {
            const bytes = parseAddress(address) ?? new Uint8Array(16);
            const decision = compiled.evaluateAddress(
              rest.direction,
              rest.self,
              bytes,
              rest.protocol,
              rest.port,
            );
            const family = address.includes(":") ? 6 : 4;
            expect(decision).toEqual(
              naiveEvaluateAddress(policy, { ...rest, family, address: toNumber(address) }),
            );
            seen.add(decision.reason);
          }
        },
      ),
      { numRuns: 500 },
    );
    expect([...seen].sort()).toEqual(["address-allow", "address-deny", "no-address-rule", "no-policy"]);
  });
});

describe("order", () => {
  it("does not change a verdict", () => {
    fc.assert(
      fc.property(
        arbitrary.policy,
        arbitrary.attributes,
        arbitrary.attributes,
        arbitrary.port,
        (policy, self, peer, port) => {
          const reversed: Policy = {
            version: 1,
            policies: policy.policies.toReversed().map((named) => ({
              ...named,
              ingress: named.ingress.toReversed(),
              egress: named.egress.toReversed(),
            })),
          };
          const ask = (one: Policy) =>
            compilePolicy(one).evaluate("ingress", self, peer, "tcp", port).verdict;
          expect(ask(policy)).toBe(ask(reversed));
        },
      ),
    );
  });
});

describe("the original's index errors", () => {
  const select = (...requirements: { key: string; values: string[]; operator: "In" | "Prefix" }[]): Policy =>
    policyOf({ peers: [{ kind: "selector", requirements, sameAs: [] }] });
  const cases: [string, Policy, Record<string, string | string[]>, "allow" | "deny"][] = [
    [
      "two prefixes of one value don't count twice",
      select(
        { key: "a", operator: "Prefix", values: ["x", "xy"] },
        { key: "b", operator: "In", values: ["z"] },
      ),
      { a: "xy" },
      "deny",
    ],
    [
      "two values of one key don't count twice",
      select({ key: "a", operator: "In", values: ["x", "y"] }, { key: "b", operator: "In", values: ["z"] }),
      { a: ["x", "y"] },
      "deny",
    ],
    [
      "both keys count",
      select({ key: "a", operator: "In", values: ["x", "y"] }, { key: "b", operator: "In", values: ["z"] }),
      { a: "x", b: "z" },
      "allow",
    ],
    ["an empty value is a value", select({ key: "a", operator: "In", values: [""] }), { a: "" }, "allow"],
    [
      "an empty value isn't an absent key",
      select({ key: "a", operator: "In", values: [""] }),
      { b: "" },
      "deny",
    ],
  ];
  it.each(cases)("%s", (_, policy, peer, verdict) => {
    const decision = compilePolicy(policy).evaluate(
      "ingress",
      attributesFromObject({}),
      attributesFromObject(peer),
      "tcp",
      80,
    );
    expect(decision.verdict).toBe(verdict);
  });

  it("two absent keys in one selector both count", () => {
    const requirements = (["a", "b"] as const).map((key) => ({ operator: "DoesNotExist" as const, key }));
    const compiled = compilePolicy(policyOf({ peers: [{ kind: "selector", requirements, sameAs: [] }] }));
    const ask = (peer: Record<string, string>) =>
      compiled.evaluate("ingress", attributesFromObject({}), attributesFromObject(peer), "tcp", 80).verdict;
    expect([ask({ c: "1" }), ask({ a: "1" }), ask({ b: "1" })]).toEqual(["allow", "deny", "deny"]);
  });
});

describe("families", () => {
  const zero = compilePolicy(policyOf({ peers: [{ kind: "address", cidr: "0.0.0.0/0", except: [] }] }));
  const colons = compilePolicy(policyOf({ peers: [{ kind: "address", cidr: "::/0", except: [] }] }));
  const ask = (compiled: typeof zero, address: string) =>
    compiled.evaluateAddress(
      "ingress",
      attributesFromObject({}),
      parseAddress(address) ?? new Uint8Array(16),
      17,
      53,
    ).verdict;
  it("0.0.0.0/0 has no IPv6 address and ::/0 no IPv4 address", () => {
    expect([ask(zero, "1.2.3.4"), ask(zero, "fd00::1"), ask(zero, "::1")]).toEqual(["allow", "deny", "deny"]);
    expect([ask(colons, "1.2.3.4"), ask(colons, "fd00::1"), ask(colons, "::1")]).toEqual([
      "deny",
      "allow",
      "allow",
    ]);
  });
});

describe("mayInitiate", () => {
  const self = attributesFromObject({ app: "web" });
  const egress = (rule: Partial<Rule>): boolean => compilePolicy(policyOf(rule, "egress")).mayInitiate(self);
  it("is false where nothing can match an identity", () => {
    expect(compilePolicy(emptyPolicy).mayInitiate(self)).toBe(false);
    expect(egress({ action: "deny" })).toBe(false);
    expect(egress({ peers: [{ kind: "address", cidr: "10.0.0.0/8", except: [] }] })).toBe(false);
    expect(egress({ peers: [{ kind: "selector", requirements: [], sameAs: ["tier"] }] })).toBe(false);
    expect(egress({ ports: [{ protocol: 17, first: 53, last: 53 }] })).toBe(false);
  });
  it("is true where a rule can", () => {
    expect(egress({})).toBe(true);
    expect(egress({ peers: [{ kind: "selector", requirements: [], sameAs: ["app"] }] })).toBe(true);
  });
});

function policyOf(rule: Partial<Rule>, where: "ingress" | "egress" = "ingress"): Policy {
  const whole: Rule = {
    name: "p/r",
    action: "allow",
    peers: [{ kind: "selector", requirements: [], sameAs: [] }],
    ...rule,
  };
  const base = { name: "p", subject: [], ingress: [], egress: [] };
  return { version: 1, policies: [{ ...base, [where]: [whole] }] };
}
