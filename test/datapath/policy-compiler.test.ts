/** A policy that is compiled between packets: others get their turns, and the old one answers until the new one is whole. */
import { expect, test } from "vitest";
import { PolicyCompiler } from "../../enforcer/datapath/policy-compiler.ts";
import { attributesFromObject } from "../../enforcer/policy/attributes.ts";
import type { CompiledPolicy } from "../../enforcer/policy/evaluate.ts";
import type { Policy } from "../../enforcer/policy/model.ts";
import { slicePolicy, type SlicedPolicy } from "../../enforcer/policy/slices.ts";

const web = attributesFromObject({ app: "web" });
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** `count` policies that let peers connect; of the last one only, `web`. */
function policyOf(count: number): SlicedPolicy {
  const policies = Array.from({ length: count }, (_, index) => ({
    name: `p${index}`,
    subject: [],
    egress: [],
    ingress: [
      {
        name: `p${index}/in`,
        action: "allow" as const,
        peers: [
          {
            kind: "selector" as const,
            requirements: [
              { operator: "In" as const, key: "app", values: [index === count - 1 ? "web" : `a${index}`] },
            ],
            sameAs: [],
          },
        ],
      },
    ],
  }));
  const policy: Policy = { version: 1, policies };
  return slicePolicy(policy);
}

/** A compiler whose clock moves on at each look, so that a turn is `stepsPerTurn` steps long. */
function compiler(stepsPerTurn: number): {
  compiler: PolicyCompiler;
  applied: number[];
  current: () => CompiledPolicy | undefined;
} {
  const applied: number[] = [];
  let current: CompiledPolicy | undefined;
  let nowMs = 0;
  const apply = (policy: CompiledPolicy, generation: number): void => {
    current = policy;
    applied.push(generation);
  };
  return {
    compiler: new PolicyCompiler({ apply, now: () => (nowMs += 1 / stepsPerTurn) }),
    applied,
    current: () => current,
  };
}

test("is in force at once where there is nobody to be judged", () => {
  const world = compiler(10);
  world.compiler.start(policyOf(500), 1, []);
  expect(world.applied).toEqual([1]);
  expect(world.current()?.evaluate("ingress", web, web, "tcp", 80)).toMatchObject({ rule: "p499/in" });
});

test("is compiled in turns where somebody is, and then is the same", async () => {
  const world = compiler(10);
  world.compiler.start(policyOf(500), 7, [web]);
  let turns = 0;
  for (; world.applied.length === 0; turns += 1) await turn();
  expect(turns).toBeGreaterThan(100);
  expect(world.applied).toEqual([7]);
  expect(world.current()?.evaluate("ingress", web, web, "tcp", 80)).toMatchObject({ rule: "p499/in" });
});

test("gives way to a newer one, and to the end", async () => {
  const world = compiler(10);
  world.compiler.start(policyOf(500), 1, [web]);
  await turn();
  world.compiler.start(policyOf(5), 2, [web]);
  while (world.applied.length === 0) await turn();
  for (let more = 0; more < 500; more += 1) await turn();
  expect(world.applied).toEqual([2]);
  world.compiler.start(policyOf(500), 3, [web]);
  world.compiler.stop();
  for (let more = 0; more < 500; more += 1) await turn();
  expect(world.applied).toEqual([2]);
});
