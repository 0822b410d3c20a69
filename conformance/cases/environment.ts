/** Group B: environment variables. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { spawn } from "node:child_process";
import { eachRun, expectFailure, expectOutcome, oneRun, steps } from "../case.ts";
import type { Case, RunData, Verb } from "../case.ts";
import { command } from "../pod.ts";
import { isEnforced } from "../rules.ts";
import type { Site } from "../site.ts";

type Variants = Readonly<Record<string, RunData>>;

/** One run of `verb` for each value of one variable. */
function values(verb: Verb, name: string, list: readonly string[]): Variants {
  return Object.fromEntries(list.map((value) => [JSON.stringify(value), { verb, env: { [name]: value } }]));
}

const unset = (verb: Verb, name: string): RunData => ({ verb, env: { [name]: undefined } });
const empty = (verb: Verb, name: string): RunData => ({ verb, env: { [name]: "" } });

const badContainerIds = [
  "-a",
  "_a",
  ".a",
  "a/b",
  "a b",
  "a%b",
  "a\nb",
  "a\u0001",
  "ä",
  "..",
  "a/../b",
  "/etc",
];
const badIfnames = [".", "..", "a/b", "a:b", "a b", "a\tb", "a\u00a0b", "a\u2003b", "a\u0085b"];

/** What a run inside the pod's namespace, so that it is the plugin's own, comes to. */
function inPod(site: Site, data: RunData): ReturnType<Site["run"]> {
  return site.run(data, { argv: ["/usr/bin/nsenter", `--net=${site.pod.netns}`, "--", "$PLUGIN"] });
}

async function ownNamespace(site: Site): Promise<void> {
  for (const path of ["/proc/self/ns/net", "$NETNS"]) {
    expectFailure(await inPod(site, { verb: "ADD", env: { CNI_NETNS: path } }), { code: 8 });
  }
  assert.equal(isEnforced(site.pod.netns), false);
  assert.equal(site.enforcer.adds.length, 0);
}

async function delOfOwnNamespace(site: Site): Promise<void> {
  expectOutcome(await site.run({ verb: "ADD" }), "success");
  await site.pod.settle();
  const before = await site.pod.exec("ip", "-4", "-j", "address");
  const run = await inPod(site, { verb: "DEL" });
  assert.ok(run.exitCode === 0 || expectFailure(run, { code: 8 }).code === 8);
  assert.equal(await site.pod.exec("ip", "-4", "-j", "address"), before);
  assert.equal(isEnforced(site.pod.netns), true, "nothing in the plugin's own namespace changes");
}

async function overridden(site: Site): Promise<void> {
  for (const value of ["TRUE", "1", "true"]) {
    const env = { CNI_NETNS_OVERRIDE: value };
    expectOutcome(await inPod(site, { verb: "ADD", env }), "success");
    assert.equal(isEnforced(site.pod.netns), true);
    expectOutcome(await inPod(site, { verb: "DEL", env }), "success");
    assert.equal(isEnforced(site.pod.netns), false);
  }
}

async function oddPaths(site: Site): Promise<void> {
  writeFileSync(join(site.folder, "file"), "");
  mkdirSync(join(site.folder, "directory"));
  await command("mkfifo", join(site.folder, "fifo"));
  for (const path of [
    "$FOLDER/file",
    "$FOLDER/directory",
    "$FOLDER/fifo",
    "/proc/self/ns/mnt",
    "/dev/null",
    "$SOCKET",
  ]) {
    const run = await site.run({ verb: "ADD", env: { CNI_NETNS: path } });
    expectFailure(run, { code: 8 });
    assert.ok(run.elapsedMs < 5000, path);
  }
  assert.equal(site.enforcer.adds.length, 0);
}

async function everyPath(site: Site): Promise<void> {
  const sleeper = spawn("ip", ["netns", "exec", site.pod.name, "sleep", "60"], { stdio: "ignore" });
  site.defer(() => sleeper.kill("SIGKILL"));
  await new Promise((resolve) => setTimeout(resolve, 200));
  for (const path of ["$NETNS", `/var/run/netns/${site.pod.name}`, `/proc/${String(sleeper.pid)}/ns/net`]) {
    const env = { CNI_NETNS: path };
    for (const verb of ["ADD", "CHECK"] as const) expectOutcome(await site.run({ verb, env }), "success");
    assert.equal(isEnforced(site.pod.netns), true);
    expectOutcome(await site.run({ verb: "DEL", env }), "success");
    assert.equal(isEnforced(site.pod.netns), false);
  }
}

async function staysInFolder(site: Site): Promise<void> {
  const before = readdirSync(site.folder, { recursive: true });
  for (const id of ["..", "a/../b", "../../etc/x"]) {
    expectFailure(await site.run({ verb: "ADD", env: { CNI_CONTAINERID: id } }), { code: 4 });
    expectFailure(await site.run({ verb: "DEL", env: { CNI_CONTAINERID: id } }), { code: 4 });
  }
  assert.deepEqual(
    readdirSync(site.folder, { recursive: true }).filter((name) => !String(name).includes("plugin.log")),
    before,
  );
}

const tracing = {
  TRACEPARENT: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  TRACESTATE: "a=b",
  BAGGAGE: "k=v",
  HTTP_PROXY: "http://127.0.0.1:1",
  LD_BIND_NOW: "1",
  CNI_UNKNOWN: "x",
};

export const environmentCases: readonly Case[] = [
  ...eachRun(
    24,
    "CNI_COMMAND %s",
    "nothing",
    {
      missing: unset("ADD", "CNI_COMMAND"),
      empty: empty("ADD", "CNI_COMMAND"),
    },
    { code: 4, says: ["CNI_COMMAND"] },
  ),
  oneRun(
    25,
    "an unknown command",
    "nothing",
    { verb: "ADD", env: { CNI_COMMAND: "UPDATE" } },
    { code: 4, says: ["unknown CNI_COMMAND: UPDATE"] },
  ),
  ...eachRun(
    26,
    "the command %s",
    "nothing",
    values("ADD", "CNI_COMMAND", ["add", "Add", "ADD ", "constructor"]),
    { code: 4 },
  ),
  oneRun(27, "ADD without container id", "nothing", unset("ADD", "CNI_CONTAINERID"), {
    code: 4,
    says: ["CNI_CONTAINERID"],
  }),
  oneRun(28, "ADD without namespace", "nothing", unset("ADD", "CNI_NETNS"), { code: 4, says: ["CNI_NETNS"] }),
  oneRun(29, "ADD without interface name", "nothing", unset("ADD", "CNI_IFNAME"), {
    code: 4,
    says: ["CNI_IFNAME"],
  }),
  oneRun(30, "ADD without CNI_PATH", "pod", unset("ADD", "CNI_PATH"), "success"),
  oneRun(
    31,
    "all missing variables are named",
    "nothing",
    { verb: "ADD", env: { CNI_CONTAINERID: undefined, CNI_NETNS: undefined, CNI_IFNAME: undefined } },
    { code: 4, says: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] },
  ),
  ...eachRun(
    32,
    "%s empty counts as missing",
    "nothing",
    {
      CNI_CONTAINERID: empty("ADD", "CNI_CONTAINERID"),
      CNI_NETNS: empty("ADD", "CNI_NETNS"),
      CNI_IFNAME: empty("ADD", "CNI_IFNAME"),
    },
    { code: 4, says: ["missing"] },
  ),
  ...eachRun(
    33,
    "CHECK without %s",
    "nothing",
    {
      CNI_CONTAINERID: unset("CHECK", "CNI_CONTAINERID"),
      CNI_NETNS: unset("CHECK", "CNI_NETNS"),
      CNI_IFNAME: unset("CHECK", "CNI_IFNAME"),
    },
    { code: 4, says: ["missing"] },
  ),
  oneRun(34, "DEL without container id", "nothing", unset("DEL", "CNI_CONTAINERID"), {
    code: 4,
    says: ["CNI_CONTAINERID"],
  }),
  oneRun(35, "DEL without interface name", "nothing", unset("DEL", "CNI_IFNAME"), {
    code: 4,
    says: ["CNI_IFNAME"],
  }),
  ...eachRun(
    36,
    "DEL with CNI_NETNS %s",
    "enforcer",
    {
      unset: unset("DEL", "CNI_NETNS"),
      empty: empty("DEL", "CNI_NETNS"),
    },
    "success",
  ),
  ...eachRun(
    37,
    "GC with the container's variables %s",
    "enforcer",
    {
      unset: { verb: "GC", stdin: { "cni.dev/valid-attachments": [] } },
      empty: {
        verb: "GC",
        env: { CNI_CONTAINERID: "", CNI_NETNS: "", CNI_IFNAME: "", CNI_ARGS: "" },
        stdin: { "cni.dev/valid-attachments": [] },
      },
    },
    "success",
  ),
  oneRun(38, "GC without CNI_PATH", "nothing", unset("GC", "CNI_PATH"), { code: 4, says: ["CNI_PATH"] }),
  oneRun(39, "STATUS with CNI_COMMAND alone", "enforcer", { verb: "STATUS" }, "success"),
  oneRun(40, "VERSION with CNI_COMMAND alone", "nothing", { verb: "VERSION" }, "success"),
  oneRun(
    40,
    "VERSION with libcni's dummies",
    "nothing",
    { verb: "VERSION", env: { CNI_NETNS: "dummy", CNI_IFNAME: "dummy", CNI_PATH: "dummy" } },
    "success",
  ),
  ...eachRun(
    41,
    "container id %s",
    "pod",
    values("ADD", "CNI_CONTAINERID", ["a", "0".repeat(64), "Aa0_.-".repeat(42).padEnd(256, "z")]),
    "success",
  ),
  ...eachRun(42, "container id %s", "nothing", values("ADD", "CNI_CONTAINERID", badContainerIds), {
    code: 4,
    says: ["CNI_CONTAINERID"],
  }),
  steps(43, "a container id can't lead out of a directory", "pod", staysInFolder),
  steps(44, "interface name of 15 bytes", "enforcer", async (site) => {
    const pod = await site.addPod({ ifname: "abcdefghijklmno" });
    expectOutcome(await site.run({ verb: "ADD" }, {}, pod), "success");
  }),
  ...eachRun(
    44,
    "interface name %s",
    "nothing",
    values("ADD", "CNI_IFNAME", ["abcdefghijklmnop", "éééééééé"]),
    { code: 4, says: ["CNI_IFNAME"] },
  ),
  ...eachRun(45, "interface name %s", "nothing", values("ADD", "CNI_IFNAME", badIfnames), {
    code: 4,
    says: ["CNI_IFNAME"],
  }),
  oneRun(46, "unknown variables are ignored", "pod", { verb: "ADD", env: tracing }, "success"),
  steps(47, "ADD refuses the plugin's own namespace", "pod", ownNamespace),
  steps(48, "DEL leaves the plugin's own namespace alone", "pod", delOfOwnNamespace),
  steps(49, "CNI_NETNS_OVERRIDE lifts both", "pod", overridden),
  steps(50, "ADD with a namespace that isn't there", "pod", async (site) => {
    expectFailure(await site.run({ verb: "ADD", env: { CNI_NETNS: "/run/netns/no-such" } }), {
      code: 8,
      says: ["/run/netns/no-such"],
    });
    assert.equal(site.enforcer.adds.length, 0);
  }),
  steps(51, "ADD with a file, directory, FIFO or other namespace", "pod", oddPaths),
  steps(52, "every path of a namespace works", "pod", everyPath),
  steps(53, "prevResult's sandbox may be another path of the same namespace", "pod", async (site) => {
    const stdin = JSON.stringify(site.config()).replace("/run/netns/", "/var/run/netns/");
    expectOutcome(await site.run({ verb: "ADD", stdin }), "success");
    assert.equal(site.enforcer.adds[0]?.addresses.length, 2);
  }),
];
