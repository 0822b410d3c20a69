/** The script that measures goes on working. */
import { expect, it } from "vitest";
import { measure } from "./measure.ts";

it.each([1, 2] as const)("measures every operation of suite %i", (suite) => {
  const costs = measure(suite, 5);
  expect(Object.keys(costs)).toEqual([
    "mint",
    "to the worker",
    "verify, first of its node",
    "verify, node known",
    "lookup, cached",
    "agree and derive",
    "pair keys, cached",
  ]);
  for (const us of Object.values(costs)) expect(us).toBeGreaterThan(0);
});
