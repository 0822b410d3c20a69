/** The conformance suite against the built binary (TRIREME_CNI overrides): one test a case, and a number for every requirement. */
import { beforeAll, describe, expect, it } from "vitest";
import { cases, requirementCount, without } from "../../conformance/requirements.ts";
import { runAll } from "../../conformance/runner.ts";
import type { Result } from "../../conformance/runner.ts";
import { pluginBinary } from "../harness/binaries.ts";

/** They wait for time-outs more than they work; more at once would make STATUS late on two cores. */
const jobs = 2;
let results: readonly Result[] = [];

beforeAll(async () => {
  results = await runAll(cases, pluginBinary(), jobs);
}, 900_000);

describe("requirements", () => {
  it.each(cases.map((entry, place) => [entry.requirement, entry.title, place] as const))(
    "%i: %s",
    (_number, _title, place) => {
      const result = results[place];
      expect(result?.reason).toBe(undefined);
      expect(result?.outcome).toBe("passed");
    },
  );

  it("have a case each, or a reason for none", () => {
    const covered = new Set([...cases.map(({ requirement }) => requirement), ...without.keys()]);
    expect([...covered].toSorted((one, other) => one - other)).toEqual(
      Array.from({ length: requirementCount }, (_, place) => place + 1),
    );
    for (const number of without.keys())
      expect(cases.some(({ requirement }) => requirement === number)).toBe(false);
  });
});
