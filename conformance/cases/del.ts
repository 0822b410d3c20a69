/** Group G: DEL. 134 to 136, the queue of deletions while the enforcer is away, waits. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { eachRun, expectFailure, expectOutcome, oneRun, steps } from "../case.ts";
import type { Case, RunData } from "../case.ts";
import { encodeError } from "../../enforcer/control/messages.ts";
import { command } from "../pod.ts";
import { isEnforced, readTables } from "../rules.ts";
import type { Site } from "../site.ts";

const del = (stdin: RunData["stdin"] = {}): RunData => ({ verb: "DEL", stdin });

async function added(site: Site): Promise<void> {
  expectOutcome(await site.run({ verb: "ADD" }), "success");
  assert.equal(site.enforcer.attachments.size, 1);
}

async function gone(site: Site, data: RunData, isNetnsThere = true): Promise<void> {
  expectOutcome(await site.run(data), "success");
  assert.equal(site.enforcer.attachments.size, 0);
  if (isNetnsThere) assert.equal(isEnforced(site.pod.netns), false);
}

/** Bytes of all files below the site's folder. */
function size(site: Site): number {
  const names = readdirSync(site.folder, { recursive: true }).map(String);
  return names.reduce((sum, name) => sum + statSync(join(site.folder, name)).size, 0);
}

const hundredDels = 100;

async function manyTimes(site: Site): Promise<void> {
  await added(site);
  await gone(site, del());
  const before = size(site);
  for (let round = 0; round < hundredDels; round++) await gone(site, del());
  assert.equal(size(site), before, "files grow");
}

/** The log is the only thing that DEL writes while the enforcer is away, and it is bounded. */
async function manyTimesAlone(site: Site): Promise<void> {
  await site.enforcer.close();
  for (let round = 0; round < hundredDels; round++) expectOutcome(await site.run(del()), "success");
  assert.deepEqual(readdirSync(join(site.folder, "run")), ["plugin.log"]);
  assert.ok(size(site) < 1 << 20);
}

async function twoPods(site: Site): Promise<void> {
  const other = await site.addPod();
  await added(site);
  expectOutcome(await site.run({ verb: "ADD", env: { CNI_CONTAINERID: "other" } }, {}, other), "success");
  const before = readTables(other.netns);
  expectOutcome(await site.run(del()), "success");
  assert.equal(site.enforcer.attachments.size, 1);
  assert.deepEqual(readTables(other.netns), before);
  expectOutcome(await site.run({ verb: "CHECK", env: { CNI_CONTAINERID: "other" } }, {}, other), "success");
}

/** The old container's DEL comes when a new one has its address, interface and even its namespace. */
async function late(site: Site): Promise<void> {
  await added(site);
  site.enforcer.attachments.clear();
  expectOutcome(await site.run({ verb: "ADD", env: { CNI_CONTAINERID: "newer" } }), "success");
  expectOutcome(await site.run({ verb: "DEL", env: { CNI_CONTAINERID: "older" } }), "success");
  assert.equal(site.enforcer.attachments.size, 1);
  expectOutcome(await site.run({ verb: "CHECK", env: { CNI_CONTAINERID: "newer" } }), "success");
}

async function duringAdd(site: Site): Promise<void> {
  for (const delayMs of [0, 50, 150, 400]) {
    site.enforcer.reply = async ({ op }) => {
      if (op === "add" || op === "enforce") await sleep(150);
      return undefined;
    };
    const adding = site.run({ verb: "ADD" }, { killAfterMs: 100 + delayMs });
    await sleep(delayMs);
    expectOutcome(await site.run(del()), "success");
    await adding;
    await sleep(200);
    await gone(site, del());
  }
}

export const delCases: readonly Case[] = [
  oneRun(126, "DEL without ADD", "pod", del(), "success"),
  steps(127, `DEL ${hundredDels} times`, "pod", manyTimes),
  steps(127, `DEL ${hundredDels} times without enforcer`, "pod", manyTimesAlone),
  steps(128, "CNI_NETNS empty: the enforcer lets go", "pod", async (site) => {
    await added(site);
    await gone(site, { verb: "DEL", env: { CNI_NETNS: "" } }, false);
  }),
  steps(129, "the namespace is gone", "pod", async (site) => {
    await added(site);
    site.pod.remove();
    await gone(site, del(), false);
  }),
  steps(130, "CNI_NETNS names something else", "pod", async (site) => {
    await added(site);
    await command("mkfifo", join(site.folder, "fifo"));
    for (const path of ["$FOLDER", "$FOLDER/fifo", "/dev/null", "/proc/self/ns/mnt", "relative"]) {
      expectOutcome(await site.run({ verb: "DEL", env: { CNI_NETNS: path } }), "success");
    }
    assert.equal(site.enforcer.attachments.size, 0);
  }),
  steps(131, "without prevResult everything goes", "pod", async (site) => {
    for (const cniVersion of ["0.3.1", "1.1.0"]) {
      await added(site);
      await gone(site, del({ cniVersion, prevResult: undefined }));
    }
  }),
  ...eachRun(
    132,
    "prevResult %s",
    "pod",
    {
      null: del({ prevResult: null }),
      "{}": del({ prevResult: {} }),
      "of another version": del({ prevResult: { cniVersion: "9.9.9" } }),
      "that is an array": del({ prevResult: [1, "x"] }),
      "with odd ips": del({ prevResult: { cniVersion: "1.1.0", ips: "x", interfaces: 3 } }),
    },
    "success",
  ),
  steps(133, "the interface is gone", "pod", async (site) => {
    await added(site);
    await command("ip", "-n", site.pod.name, "link", "del", "eth0");
    await gone(site, del());
  }),
  steps(137, "DEL after an ADD that failed", "pod", async (site) => {
    site.enforcer.reply = ({ op }) =>
      op === "enforce" ? encodeError({ code: 105, message: "no" }) : undefined;
    expectFailure(await site.run({ verb: "ADD" }), { code: 105 });
    await gone(site, del());
  }),
  oneRun(138, "DEL of a pod older than the plugin", "pod", del({ prevResult: undefined }), "success"),
  steps(139, "a late DEL touches no newer container", "pod", late),
  steps(140, "nothing of the container remains", "pod", async (site) => {
    const before = await site.pod.exec("nft", "list", "ruleset");
    const files = readdirSync(site.folder, { recursive: true });
    await added(site);
    await gone(site, del());
    assert.equal(await site.pod.exec("nft", "list", "ruleset"), before);
    assert.deepEqual(readdirSync(site.folder, { recursive: true }), files);
  }),
  steps(141, "DEL of one leaves the other alone", "pod", twoPods),
  steps(142, "invalid options and malformed CNI_ARGS", "pod", async (site) => {
    await added(site);
    await gone(site, {
      verb: "DEL",
      env: { CNI_ARGS: ";;=" },
      stdin: { timeoutMs: "x", attributes: 3, args: 1 },
    });
  }),
  steps(144, "DEL while an ADD is running or was killed", "pod", duringAdd),
  steps(145, "DEL prints nothing", "pod", async (site) => {
    await added(site);
    const run = await site.run(del());
    expectOutcome(run, "success");
    assert.equal(run.stderr, "");
    assert.equal(existsSync(join(site.folder, "run", "plugin.log")), false);
  }),
];
