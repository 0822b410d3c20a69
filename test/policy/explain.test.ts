import fc from "fast-check";
import { expect, it } from "vitest";
import { parseAddress } from "../../enforcer/policy/addresses.ts";
import type { Endpoint } from "../../enforcer/policy/both-ends.ts";
import { compilePolicy } from "../../enforcer/policy/evaluate.ts";
import { explain } from "../../enforcer/policy/explain.ts";
import * as arbitrary from "./arbitraries.ts";

const peer: fc.Arbitrary<Endpoint> = fc.oneof(
  arbitrary.attributes.map((attributes) => ({ kind: "unit" as const, attributes })),
  arbitrary.address.map((text) => ({
    kind: "address" as const,
    address: parseAddress(text) ?? new Uint8Array(16),
  })),
);

it("names the rules that match, of which the first deny, else the first allow, is the decision", () => {
  fc.assert(
    fc.property(arbitrary.policy, arbitrary.attributes, peer, arbitrary.port, (policy, self, other, port) => {
      const compiled = compilePolicy(policy);
      const decision =
        other.kind === "unit"
          ? compiled.evaluate("egress", self, other.attributes, "tcp", port)
          : compiled.evaluateAddress("egress", self, other.address, 6, port);
      const rules = explain(policy, { direction: "egress", self, peer: other, protocol: 6, port }).flatMap(
        (one) => one.rules,
      );
      const matching = rules.filter((rule) => rule.unmet === undefined);
      const deciding = matching.find((rule) => rule.action === "deny") ?? matching[0];
      expect([decision.verdict, decision.rule]).toEqual([deciding?.action ?? "deny", deciding?.rule]);
    }),
    { numRuns: 500 },
  );
});
