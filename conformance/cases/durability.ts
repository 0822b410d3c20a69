/** Group L: concurrency, durability, security. What the enforcer itself must do (143, 190, 194, 195) is in live.ts. */
import assert from "node:assert/strict";
import { chmodSync, chownSync, copyFileSync, renameSync, rmSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MAX_LINE_BYTES } from "../../enforcer/control/lines.ts";
import { encodeAnswer } from "../../enforcer/control/messages.ts";
import { alone, expectFailure, expectOutcome, steps } from "../case.ts";
import type { Case, Verb } from "../case.ts";
import type { Pod } from "../pod.ts";
import { isEnforced } from "../rules.ts";
import type { Run, Site } from "../site.ts";

const parallelAdds = 110;

function onPod(site: Site, verb: Verb, pod: Pod): Promise<Run> {
  return site.run({ verb, env: { CNI_CONTAINERID: pod.name } }, {}, pod);
}

const retries = 10;

/** As a runtime does it: where a machine is too slow for all at once, code 11 says "again", and an ADD is preceded by a DEL. */
async function patiently(site: Site, verb: Verb, pod: Pod): Promise<Run> {
  for (let attempt = 0; ; attempt++) {
    const run = await onPod(site, verb, pod);
    const isAskedAgain = run.exitCode !== 0 && (JSON.parse(run.stdout) as { code: number }).code === 11;
    if (!isAskedAgain || attempt === retries) return run;
    if (verb === "ADD") expectOutcome(await patiently(site, "DEL", pod), "success");
  }
}

async function manyPods(site: Site, count: number): Promise<Pod[]> {
  const pods: Pod[] = [];
  while (pods.length < count)
    pods.push(
      ...(await Promise.all(Array.from({ length: Math.min(10, count - pods.length) }, () => site.addPod()))),
    );
  return pods;
}

async function allAtOnce(site: Site): Promise<void> {
  const pods = await manyPods(site, parallelAdds);
  for (const run of await Promise.all(pods.map((pod) => patiently(site, "ADD", pod))))
    expectOutcome(run, "success");
  assert.equal(site.enforcer.attachments.size, parallelAdds);
  assert.equal(
    new Set([...site.enforcer.attachments.values()].map(({ netnsCookie }) => netnsCookie)).size,
    parallelAdds,
  );
  for (const pod of pods) assert.equal(isEnforced(pod.netns), true);
}

const mixRounds = 20;
const mixPods = 11;

/** ADDs and DELs of the same pods in random order; at the end one DEL of each. */
async function mixed(site: Site): Promise<void> {
  const pods = await manyPods(site, mixPods);
  for (let round = 0; round < mixRounds; round++) {
    const work = pods.map((pod) => ({
      pod,
      verb: Math.random() < 0.5 ? ("ADD" as const) : ("DEL" as const),
    }));
    const runs = await Promise.all(work.map(({ pod, verb }) => patiently(site, verb, pod)));
    for (const run of runs) expectOutcome(run, "success");
  }
  for (const run of await Promise.all(pods.map((pod) => patiently(site, "DEL", pod))))
    expectOutcome(run, "success");
  assert.equal(site.enforcer.attachments.size, 0);
  for (const pod of pods) assert.equal(isEnforced(pod.netns), false);
}

async function stuckNeighbour(site: Site): Promise<void> {
  const [stuck, free] = [await site.addPod(), await site.addPod()];
  site.enforcer.reply = async (request) => {
    if (request.op === "add" && request.containerId === stuck.name) await sleep(4000);
    return undefined;
  };
  const slow = onPod(site, "ADD", stuck);
  await sleep(200);
  const run = await onPod(site, "ADD", free);
  expectOutcome(run, "success");
  assert.ok(run.elapsedMs < 3000, `${run.elapsedMs} ms`);
  expectOutcome(await slow, "success");
}

/** The socket's folder, or the socket, so that somebody else could be behind it. */
const untrusted: Readonly<Record<string, (site: Site) => Promise<string> | string>> = {
  "a folder that others may enter": (site) => {
    chmodSync(join(site.folder, "run"), 0o755);
    return site.socket;
  },
  "a folder of somebody else's": (site) => {
    chownSync(join(site.folder, "run"), 65534, 65534);
    return site.socket;
  },
  "a symbolic link to the folder": (site) => {
    symlinkSync(join(site.folder, "run"), join(site.folder, "link"));
    return join(site.folder, "link", "enforcer.sock");
  },
  "a symbolic link to the socket": (site) => {
    symlinkSync(site.socket, join(site.folder, "run", "link.sock"));
    return join(site.folder, "run", "link.sock");
  },
  "a socket of somebody else's": (site) => {
    chownSync(site.socket, 65534, 65534);
    return site.socket;
  },
  "a regular file": (site) => {
    rmSync(site.socket);
    copyFileSync("/etc/hostname", site.socket);
    return site.socket;
  },
};

async function isUntrusted(site: Site, arrange: (site: Site) => Promise<string> | string): Promise<void> {
  const socket = await arrange(site);
  expectFailure(await site.run({ verb: "ADD", stdin: { socket } }), { code: 112 });
  expectOutcome(await site.run({ verb: "DEL", stdin: { socket } }), "success");
  assert.equal(site.enforcer.requests.length, 0, "nothing was sent");
  assert.equal(isEnforced(site.pod.netns), false);
}

/** Answers of an enforcer of another release. */
const skewed: Readonly<Record<string, readonly [string, number]>> = {
  "of another protocol version": ['{"version":2,"ok":true}\n', 101],
  "without version": ['{"ok":true}\n', 101],
  "that lacks a field": [encodeAnswer({}), 100],
  "that is no JSON": ["hello\n", 100],
  "that is HTTP": ["HTTP/1.1 400 Bad Request\r\n", 100],
  "with a mask that is none": [
    encodeAnswer({ puId: "0123456789abcdef", markMask: 5, onLinkPrefixes6: [], sourceAddresses: [] }),
    111,
  ],
};

async function answers(site: Site, line: string, code: number): Promise<void> {
  site.enforcer.reply = ({ op }) => (op === "add" ? line : undefined);
  expectFailure(await site.run({ verb: "ADD" }), { code });
  assert.equal(isEnforced(site.pod.netns), false);
}

async function newerFields(site: Site): Promise<void> {
  site.enforcer.reply = (request) => {
    if (request.op !== "status") return undefined;
    return '{"version":1,"ok":true,"ready":true,"enforcerVersion":"9","future":{"a":[1]}}\n';
  };
  expectOutcome(await site.run({ verb: "STATUS" }), "success");
}

async function endlessAnswer(site: Site): Promise<void> {
  for (const bytes of [MAX_LINE_BYTES + 1, 8 * MAX_LINE_BYTES]) {
    site.enforcer.reply = ({ op }) => (op === "add" ? "x".repeat(bytes) : undefined);
    const run = await site.run({ verb: "ADD" });
    expectFailure(run, { code: 114 });
    assert.ok(run.elapsedMs < 5000);
  }
}

async function longRequest(site: Site): Promise<void> {
  const list = Array.from({ length: 20_000 }, (_, place) => ({
    containerID: String(place).padStart(200, "0"),
    ifname: "eth0",
  }));
  const run = await site.run({ verb: "GC", stdin: { "cni.dev/valid-attachments": list } });
  expectFailure(run, { code: 7, says: ["longer than"] });
}

/** A new release is put in place by rename while the old one runs. */
async function replacedWhileRunning(site: Site): Promise<void> {
  const installed = join(site.folder, "trireme-cni");
  copyFileSync(site.plugin, installed);
  site.enforcer.reply = async ({ op }) => {
    if (op === "add") await sleep(1500);
    return undefined;
  };
  const running = site.run({ verb: "ADD" }, { argv: [installed] });
  await sleep(700);
  copyFileSync(site.plugin, `${installed}.new`);
  renameSync(`${installed}.new`, installed);
  expectOutcome(await running, "success");
  expectOutcome(await site.run({ verb: "CHECK" }, { argv: [installed] }), "success");
}

export const durabilityCases: readonly Case[] = [
  alone(steps(187, `${parallelAdds} parallel ADDs`, "enforcer", allAtOnce)),
  alone(steps(188, `ADD and DEL in random order, ${mixRounds} rounds of ${mixPods} pods`, "enforcer", mixed)),
  steps(189, "a stuck ADD blocks no other", "enforcer", stuckNeighbour),
  steps(191, "after a reboot /run is empty, and DEL succeeds", "pod", async (site) => {
    expectOutcome(await site.run({ verb: "ADD" }), "success");
    await site.enforcer.close();
    site.pod.remove();
    rmSync(join(site.folder, "run"), { recursive: true });
    expectOutcome(await site.run({ verb: "DEL" }), "success");
  }),
  ...Object.entries(untrusted).map(([title, arrange]) =>
    steps(title.includes("link") ? 192 : 193, title, "pod", (site) => isUntrusted(site, arrange)),
  ),
  ...Object.entries(skewed).map(([title, [line, code]]) =>
    steps(196, `an answer ${title}`, "pod", (site) => answers(site, line, code)),
  ),
  steps(196, "an answer with fields of a newer release", "enforcer", newerFields),
  steps(196, "the enforcer is told the plugin's release", "pod", async (site) => {
    expectOutcome(await site.run({ verb: "ADD" }), "success");
    assert.match(site.enforcer.adds[0]?.pluginVersion ?? "", /^\d+\.\d+\.\d+/);
  }),
  steps(197, "an answer that never ends", "pod", endlessAnswer),
  steps(197, "a request that would be too long", "enforcer", longRequest),
  steps(199, "the binary is a regular file with mode 0755", "nothing", (site) => {
    const stats = statSync(site.plugin);
    assert.ok(stats.isFile());
    assert.equal(stats.mode & 0o777, 0o755);
    return Promise.resolve();
  }),
  steps(200, "replaced while it is running", "pod", replacedWhileRunning),
];
