/** Group I: GC. */
import assert from "node:assert/strict";
import { encodeAnswer } from "../../enforcer/control/messages.ts";
import { eachRun, expectFailure, expectOutcome, oneRun, steps } from "../case.ts";
import type { Case, Config, Json } from "../case.ts";
import { puIdOf } from "../fake-enforcer.ts";
import type { Site } from "../site.ts";

const key = "cni.dev/valid-attachments";

interface Entry {
  readonly containerId: string;
  readonly ifname: string;
  readonly network?: string;
}

/** Puts attachments into the enforcer's registry. */
function register(site: Site, entries: readonly Entry[]): void {
  for (const { network = "pods", ...entry } of entries) {
    const add = {
      op: "add",
      network,
      ...entry,
      netnsPath: "/x",
      netnsCookie: "1",
      addresses: [],
      attributes: {},
      pluginVersion: "",
    } as const;
    site.enforcer.attachments.set(puIdOf(add), add);
  }
}

function remaining(site: Site): string[] {
  return [...site.enforcer.attachments.values()]
    .map(({ network, containerId, ifname }) => `${network}/${containerId}/${ifname}`)
    .sort();
}

const listed = (...ids: readonly string[]): Json[] =>
  ids.map((containerID) => ({ containerID, ifname: "eth0" }));
const entry = (containerId: string, ifname = "eth0", network = "pods"): Entry => ({
  containerId,
  ifname,
  network,
});

async function collected(site: Site, stdin: Config, left: readonly string[]): Promise<void> {
  expectOutcome(await site.run({ verb: "GC", stdin }), "success");
  assert.deepEqual(remaining(site), left);
}

const malformed: readonly Json[] = [
  {},
  "x",
  1,
  [1],
  [{}],
  [{ containerID: "a" }],
  [{ ifname: "eth0" }],
  [{ containerID: 1, ifname: "eth0" }],
  [{ containerID: "a", ifname: "eth0" }, null],
];

async function malformedList(site: Site): Promise<void> {
  register(site, [entry("a")]);
  for (const list of malformed) {
    expectFailure(await site.run({ verb: "GC", stdin: { [key]: list } }), { code: 7, says: [key] });
  }
  assert.deepEqual(remaining(site), ["pods/a/eth0"]);
  assert.equal(site.enforcer.requests.filter(({ op }) => op === "gc").length, 0);
}

async function tenThousand(site: Site): Promise<void> {
  const ids = Array.from({ length: 10_000 }, (_, place) => String(place).padStart(64, "0"));
  register(site, [entry("stale"), ...ids.slice(0, 3).map((id) => entry(id))]);
  for (let round = 0; round < 2; round++) {
    const run = await site.run({ verb: "GC", stdin: { [key]: listed(...ids) } });
    expectOutcome(run, "success");
    assert.ok(run.elapsedMs < 10_000);
    assert.equal(site.enforcer.attachments.size, 3);
  }
}

async function alongsideAdd(site: Site): Promise<void> {
  const gcRun = { verb: "GC", stdin: { [key]: listed(site.containerId) } } as const;
  for (let round = 0; round < 5; round++) {
    const runs = await Promise.all([site.run({ verb: "ADD" }), site.run(gcRun), site.run(gcRun)]);
    for (const run of runs) expectOutcome(run, "success");
    expectOutcome(await site.run({ verb: "CHECK" }), "success");
    const ends = await Promise.all([site.run({ verb: "DEL" }), site.run(gcRun)]);
    for (const run of ends) expectOutcome(run, "success");
    assert.deepEqual(remaining(site), []);
  }
}

export const gcCases: readonly Case[] = [
  ...eachRun(
    156,
    "cniVersion %s",
    "enforcer",
    {
      "0.3.1": { verb: "GC", stdin: { cniVersion: "0.3.1" } },
      "0.4.0": { verb: "GC", stdin: { cniVersion: "0.4.0" } },
      "1.0.0": { verb: "GC", stdin: { cniVersion: "1.0.0" } },
    },
    { code: 1, says: ["config version does not allow GC"] },
  ),
  steps(157, "what isn't listed goes, what is stays", "enforcer", async (site) => {
    register(site, [entry("a"), entry("b"), entry("c")]);
    await collected(site, { [key]: listed("b", "unknown") }, ["pods/b/eth0"]);
  }),
  steps(158, "container id and interface name both count", "enforcer", async (site) => {
    register(site, [entry("a"), entry("a", "eth1")]);
    await collected(site, { [key]: listed("a") }, ["pods/a/eth0"]);
  }),
  steps(159, "other networks are untouched", "enforcer", async (site) => {
    register(site, [entry("a"), entry("a", "eth0", "other")]);
    await collected(site, { [key]: [] }, ["other/a/eth0"]);
  }),
  steps(160, "an empty list removes all of this network", "enforcer", async (site) => {
    register(site, [entry("a"), entry("b")]);
    await collected(site, { [key]: [] }, []);
  }),
  steps(161, "without a list nothing goes", "enforcer", async (site) => {
    register(site, [entry("a")]);
    await collected(site, {}, ["pods/a/eth0"]);
    await collected(site, { [key]: null }, ["pods/a/eth0"]);
  }),
  steps(162, "both keys are understood, valid-attachments first", "enforcer", async (site) => {
    register(site, [entry("a"), entry("b"), entry("c")]);
    await collected(site, { "cni.dev/attachments": listed("a", "b") }, ["pods/a/eth0", "pods/b/eth0"]);
    await collected(site, { "cni.dev/attachments": listed("a"), [key]: listed("b") }, ["pods/b/eth0"]);
  }),
  steps(163, "a malformed list removes nothing", "enforcer", malformedList),
  steps(164, "failures are reported at the end", "enforcer", async (site) => {
    site.enforcer.reply = ({ op }) =>
      op === "gc" ? encodeAnswer({ released: ["0123456789abcdef"], failures: ["pu a: busy"] }) : undefined;
    expectFailure(await site.run({ verb: "GC", stdin: { [key]: [] } }), { code: 115, says: ["pu a: busy"] });
  }),
  oneRun(
    165,
    "no namespace is needed",
    "enforcer",
    { verb: "GC", stdin: { [key]: listed("gone") } },
    "success",
  ),
  steps(166, "10,000 entries, twice", "enforcer", tenThousand),
  steps(167, "GC beside ADD and DEL", "pod", alongsideAdd),
  steps(168, "without GC nothing is left by ADD and DEL", "pod", async (site) => {
    for (let round = 0; round < 3; round++) {
      expectOutcome(await site.run({ verb: "ADD" }), "success");
      expectOutcome(await site.run({ verb: "DEL" }), "success");
    }
    assert.deepEqual(remaining(site), []);
  }),
];
