/** Group E: VERSION. */
import assert from "node:assert/strict";
import { expectFailure, expectOutcome, steps } from "../case.ts";
import type { Case } from "../case.ts";
import type { Run, Site } from "../site.ts";

const recommended = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const others = ["0.0.0", "0.1.0", "0.2.0", "0.3.2", "0.5.0", "1.0.1", "1.2.0", "2.0.0"];

interface VersionAnswer {
  readonly cniVersion: string;
  readonly supportedVersions: readonly string[];
}

async function ask(site: Site): Promise<VersionAnswer> {
  return JSON.parse((await site.run({ verb: "VERSION" })).stdout) as VersionAnswer;
}

async function unprivileged(site: Site): Promise<void> {
  const argv = [
    "/usr/bin/setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--bounding-set=-all",
    "$PLUGIN",
  ];
  expectOutcome(await site.run({ verb: "VERSION" }, { argv, cwd: "/" }), "success");
}

async function manyAtOnce(site: Site): Promise<void> {
  const runs: Run[] = await Promise.all(Array.from({ length: 20 }, () => site.run({ verb: "VERSION" })));
  for (const run of runs) expectOutcome(run, "success");
}

export const versionCases: readonly Case[] = [
  steps(83, "a version and a list of versions", "nothing", async (site) => {
    const answer = await ask(site);
    assert.match(answer.cniVersion, /^\d+\.\d+\.\d+$/);
    assert.ok(answer.supportedVersions.length > 0);
  }),
  steps(84, "every version listed is accepted on ADD and answered alike", "pod", async (site) => {
    for (const cniVersion of (await ask(site)).supportedVersions) {
      expectOutcome(await site.run({ verb: "ADD", stdin: { cniVersion } }), "success");
    }
  }),
  steps(85, "no other version is accepted", "pod", async (site) => {
    for (const cniVersion of others) {
      const prevResult = { ...site.pod.result(), cniVersion };
      expectFailure(await site.run({ verb: "ADD", stdin: { cniVersion, prevResult } }), { code: 1 });
    }
  }),
  steps(86, "VERSION needs neither enforcer nor privileges", "nothing", unprivileged),
  steps(87, "20 at once", "nothing", manyAtOnce),
  steps(88, "the versions that have chaining", "nothing", async (site) => {
    assert.deepEqual((await ask(site)).supportedVersions, recommended);
  }),
];
