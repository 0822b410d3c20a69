/** Group J: STATUS. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeError } from "../../enforcer/control/messages.ts";
import { eachRun, expectFailure, expectOutcome, oneRun, steps } from "../case.ts";
import type { Case, RunData } from "../case.ts";

const status: RunData = { verb: "STATUS" };

export const statusCases: readonly Case[] = [
  ...eachRun(
    169,
    "cniVersion %s",
    "enforcer",
    {
      "0.3.1": { verb: "STATUS", stdin: { cniVersion: "0.3.1" } },
      "0.4.0": { verb: "STATUS", stdin: { cniVersion: "0.4.0" } },
      "1.0.0": { verb: "STATUS", stdin: { cniVersion: "1.0.0" } },
    },
    { code: 1, says: ["config version does not allow STATUS"] },
  ),
  oneRun(170, "ready", "enforcer", status, "success"),
  oneRun(171, "the enforcer is down and no pod is enforced", "nothing", status, { code: 50 }),
  steps(172, "the enforcer is down and pods are enforced", "nothing", async (site) => {
    mkdirSync(join(site.folder, "run", "state"), { recursive: true, mode: 0o700 });
    writeFileSync(join(site.folder, "run", "state", "0123456789abcdef.json"), "{}");
    expectFailure(await site.run(status), { code: 51 });
  }),
  steps(172, "the enforcer says that it is limited", "enforcer", async (site) => {
    for (const code of [50, 51]) {
      site.enforcer.reply = ({ op }) =>
        op === "status" ? encodeError({ code, message: "the datapath is down" }) : undefined;
      expectFailure(await site.run(status), { code, says: ["the datapath is down"] });
    }
  }),
  steps(173, "an answer within a second in every state of the enforcer", "enforcer", async (site) => {
    for (const manner of ["answers", "silent", "drips", "closes"] as const) {
      site.enforcer.manner = manner;
      const run = await site.run(status);
      assert.ok(run.elapsedMs < 1000, `${manner}: ${run.elapsedMs.toFixed(0)} ms`);
      assert.equal(run.exitCode === 0, manner === "answers");
    }
  }),
  steps(173, "an answer within a second while standard input stays open", "enforcer", async (site) => {
    const run = await site.run(status, { feed: () => undefined });
    expectFailure(run, { code: 11 });
    assert.ok(run.elapsedMs < 1000, `${run.elapsedMs.toFixed(0)} ms`);
  }),
  oneRun(174, "without prevResult and container", "enforcer", status, "success"),
  steps(175, "no side effects", "enforcer", async (site) => {
    const files = readdirSync(site.folder, { recursive: true });
    expectOutcome(await site.run(status), "success");
    assert.deepEqual(
      site.enforcer.requests.map(({ op }) => op),
      ["status"],
    );
    assert.deepEqual(readdirSync(site.folder, { recursive: true }), files);
    await site.enforcer.close();
    expectFailure(await site.run(status), { code: 50 });
    assert.deepEqual(readdirSync(site.folder, { recursive: true }), ["run"]);
  }),
  steps(176, "ADD and DEL work after a STATUS that failed", "pod", async (site) => {
    site.enforcer.reply = ({ op }) =>
      op === "status" ? encodeError({ code: 50, message: "not yet" }) : undefined;
    expectFailure(await site.run(status), { code: 50 });
    expectOutcome(await site.run({ verb: "ADD" }), "success");
    expectOutcome(await site.run({ verb: "DEL" }), "success");
  }),
  ...eachRun(
    177,
    "an invalid option: %s",
    "enforcer",
    {
      socket: { verb: "STATUS", stdin: { socket: 1 } },
      timeoutMs: { verb: "STATUS", stdin: { timeoutMs: "x" } },
    },
    { code: 7 },
  ),
];
