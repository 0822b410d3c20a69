/** Group A: process and streams. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { closeSync, constants, copyFileSync, mkdirSync, openSync, symlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { eachRun, expectFailure, expectOutcome, oneRun, readError, steps } from "../case.ts";
import type { Case, RunData, Verb } from "../case.ts";
import { command } from "../pod.ts";
import type { Run, RunOptions, Site } from "../site.ts";
import { isEnforced } from "../rules.ts";

const inputVerbs: readonly Verb[] = ["ADD", "DEL", "CHECK", "GC", "STATUS"];

function forVerbs(verbs: readonly Verb[], data: Omit<RunData, "verb">): Record<string, RunData> {
  return Object.fromEntries(verbs.map((verb) => [verb, { verb, ...data }]));
}

/** Each verb once, in an order in which all succeed. */
async function lifecycle(site: Site): Promise<Run[]> {
  const runs: Run[] = [];
  for (const verb of ["VERSION", "STATUS", "ADD", "CHECK", "GC", "DEL"] as const) {
    const attachment = { containerID: site.containerId, ifname: "eth0" };
    const stdin = verb === "GC" ? { "cni.dev/valid-attachments": [attachment] } : {};
    runs.push(await site.run({ verb, stdin }));
  }
  return runs;
}

/** 1-byte writes with a pause after every hundredth. */
function trickle(child: ChildProcess, input: Buffer): void {
  void (async () => {
    for (const [place, byte] of input.entries()) {
      child.stdin?.write(Buffer.of(byte));
      if (place % 100 === 0) await sleep(5);
      else await sleep(0);
    }
    child.stdin?.end();
  })();
}

/** Fills a FIFO, so that a writer of one more byte would wait, and gives it to the run as stderr. */
async function runWithStuckStderr(site: Site): Promise<Run> {
  const fifo = join(site.folder, "stderr");
  await command("mkfifo", fifo);
  const filler = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  try {
    for (let full = false; !full;) full = !writeAll(filler);
    return await site.run({ verb: "ADD" }, { stdio: ["pipe", "pipe", openSync(fifo, constants.O_WRONLY)] });
  } finally {
    closeSync(filler);
  }
}

function writeAll(fd: number): boolean {
  try {
    return writeSync(fd, Buffer.alloc(4096)) > 0;
  } catch {
    return false;
  }
}

/** Starts reading stdout only after a while. */
const readLate: RunOptions = {
  onStart: (child) => {
    child.stdout?.pause();
    setTimeout(() => child.stdout?.resume(), 700);
  },
};

async function cutStdout(site: Site): Promise<void> {
  const stdin = { prevResult: { ...site.pod.result(), padding: "x".repeat(300_000) } };
  const run = await site.run({ verb: "ADD", stdin }, { onStart: (child) => child.stdout?.destroy() });
  assert.notEqual(run.exitCode, 0);
  assert.equal(run.signal, null);
  assert.doesNotMatch(run.stderr, /\n\s+at /);
}

const faults = ["absent", "refusing", "silent", "drips"] as const;
type Fault = (typeof faults)[number];

async function breakEnforcer(site: Site, fault: Fault): Promise<void> {
  if (fault === "silent" || fault === "drips") {
    const enforcer = await site.listen(site.socket);
    enforcer.manner = fault;
  }
  if (fault === "refusing") await leaveDeadSocket(site);
}

/** A socket file without a listener, as a killed enforcer leaves it. */
async function leaveDeadSocket(site: Site): Promise<void> {
  mkdirSync(join(site.folder, "run"), { mode: 0o700 });
  const script = `import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])`;
  await command("python3", "-c", script, site.socket);
}

const limitsMs: Readonly<Record<Exclude<Verb, "VERSION">, number>> = {
  ADD: 10_000,
  DEL: 5_000,
  CHECK: 5_000,
  GC: 10_000,
  STATUS: 1_000,
};

/** What `ADD` and its like take in the worst case, plus a start of the process on a busy machine for all but STATUS. */
async function endsInTime(site: Site, verb: keyof typeof limitsMs, fault: Fault): Promise<void> {
  await breakEnforcer(site, fault);
  const pod = await site.addPod();
  const stdin = { "cni.dev/valid-attachments": [] };
  const run = await site.run({ verb, stdin }, {}, pod);
  if (verb === "DEL") expectOutcome(run, "success");
  else readError(run);
  const limit = limitsMs[verb] + (verb === "STATUS" ? 0 : 500);
  assert.ok(run.elapsedMs < limit, `${run.elapsedMs.toFixed(0)} ms, limit ${limit}`);
}

async function killedAnytime(site: Site): Promise<void> {
  for (let round = 0; round < 20; round++) {
    await site.run({ verb: "ADD" }, { killAfterMs: round * 8 });
    expectOutcome(await site.run({ verb: "DEL" }), "success");
    await sleep(20);
    assert.equal(isEnforced(site.pod.netns), false, `rules left in round ${round}`);
    assert.equal(site.enforcer.attachments.size, 0, `an attachment left in round ${round}`);
  }
}

async function twoReleases(site: Site): Promise<void> {
  const other = join(site.folder, "trireme-cni");
  copyFileSync(site.plugin, other);
  const pods = await Promise.all(Array.from({ length: 6 }, () => site.addPod()));
  const both = (verb: Verb): Promise<Run[]> =>
    Promise.all(
      pods.map((pod, place) =>
        site.run(
          { verb, env: { CNI_CONTAINERID: `c${place}` } },
          place % 2 === 0 ? {} : { argv: [other] },
          pod,
        ),
      ),
    );
  for (const run of await both("ADD")) expectOutcome(run, "success");
  assert.equal(site.enforcer.attachments.size, pods.length);
  for (const run of await both("DEL")) expectOutcome(run, "success");
  assert.equal(site.enforcer.attachments.size, 0);
}

const hostileKeys = `"__proto__":{"socket":"/nowhere","prevResult":null},"constructor":{"prototype":{"socket":1}},"toString":1`;

function hostileConfig(site: Site): string {
  const usual = JSON.stringify(site.config()).slice(1, -1);
  const nested = `"deep":${"[".repeat(10_000)}${"]".repeat(10_000)}`;
  return `{"name":"first","cniVersion":"9.9.9",${hostileKeys},${nested},${usual}}`;
}

async function hostileInput(site: Site): Promise<void> {
  const run = await site.run({ verb: "ADD", stdin: hostileConfig(site) });
  assert.equal(run.exitCode, 0, run.stdout);
  assert.equal(site.enforcer.adds[0]?.network, "pods", "of duplicate keys the last one counts");
  assert.deepEqual(JSON.parse(run.stdout), site.pod.result());
  expectOutcome(await site.run({ verb: "DEL", stdin: hostileConfig(site) }), "success");
  assert.equal(site.enforcer.attachments.size, 0);
}

async function closedStdin(site: Site): Promise<void> {
  const argv = ["/bin/sh", "-c", 'exec "$0" <&-', "$PLUGIN"];
  for (const verb of inputVerbs) expectFailure(await site.run({ verb }, { argv }), { code: 5 });
}

async function directoryAsStdin(site: Site): Promise<void> {
  const folder = openSync(site.folder, constants.O_RDONLY);
  for (const verb of inputVerbs) {
    expectFailure(await site.run({ verb }, { stdio: [folder, "pipe", "pipe"] }), { code: 5 });
  }
  closeSync(folder);
}

/** Runs a script, which ends with the plugin, in a mount namespace of its own. */
function inOwnMounts(script: string): readonly string[] {
  const shell = ["/bin/sh", "-c", `PATH=/bin:/usr/bin:/sbin; ${script}`, "$PLUGIN"];
  return ["/usr/bin/unshare", "-m", "--propagation", "private", ...shell];
}

/** Everything is read-only but /proc and /dev/shm: one of it, /run, /tmp and /var/tmp must be writable. */
async function readOnlyRoot(site: Site): Promise<void> {
  const script =
    'for m in $(cut -d" " -f5 /proc/self/mountinfo | grep -v ^/proc); do mount -o remount,ro,bind "$m" 2>/dev/null; done; mount -t tmpfs none /dev/shm; exec "$0"';
  for (const verb of ["ADD", "CHECK", "DEL"] as const) {
    expectOutcome(await site.run({ verb }, { argv: inOwnMounts(script) }), "success");
  }
}

async function unlinkedFolder(site: Site): Promise<void> {
  const argv = [
    "/bin/sh",
    "-c",
    'PATH=/bin:/usr/bin; mkdir gone; cd gone; rmdir ../gone; exec "$0"',
    "$PLUGIN",
  ];
  for (const verb of ["ADD", "CHECK", "DEL"] as const) {
    expectOutcome(await site.run({ verb }, { argv, cwd: site.folder }), "success");
  }
}

/** Without /proc the plugin can't load its own native code: a failure that no branch of its code expects. */
async function crippled(site: Site): Promise<void> {
  const script = 'mount -t tmpfs none /proc; exec "$0"';
  const run = await site.run({ verb: "ADD" }, { argv: inOwnMounts(script) });
  const error = readError(run);
  assert.equal(run.exitCode, 1);
  assert.ok(error.code >= 100, String(error.code));
  assert.equal(site.enforcer.adds.length, 0);
}

export const processCases: readonly Case[] = [
  steps(1, "success exits 0, failure does not", "pod", async (site) => {
    for (const run of await lifecycle(site)) assert.equal(run.exitCode, 0, `${run.verb}: ${run.stdout}`);
    for (const verb of inputVerbs) assert.notEqual((await site.run({ verb, stdin: "{" })).exitCode, 0, verb);
  }),
  steps(2, "ADD prints one JSON object and nothing else", "pod", async (site) => {
    const run = await site.run({ verb: "ADD" });
    expectOutcome(run, "success");
    assert.match(run.stdout, /^\{.*\}\n$/s);
  }),
  steps(3, "DEL, CHECK, GC and STATUS print nothing", "pod", async (site) => {
    for (const run of await lifecycle(site)) expectOutcome(run, "success");
  }),
  ...eachRun(4, "a failing %s prints an error object", "nothing", forVerbs(inputVerbs, { stdin: "[]" }), {
    code: 6,
  }),
  steps(5, "a stderr that nobody reads, already full, stalls no ADD", "pod", async (site) => {
    expectOutcome(await runWithStuckStderr(site), "success");
  }),
  steps(6, "standard input may come byte by byte", "pod", async (site) => {
    expectOutcome(await site.run({ verb: "ADD" }, { feed: trickle }), "success");
  }),
  oneRun(
    7,
    "1 MiB of valid JSON is accepted",
    "pod",
    { verb: "ADD", stdin: { padding: "x".repeat(1 << 20) } },
    "success",
  ),
  oneRun(
    7,
    "64 MiB are refused cleanly",
    "nothing",
    { verb: "ADD", stdin: { padding: "x".repeat(1 << 26) } },
    { code: 6 },
  ),
  ...eachRun(8, "%s with empty input", "nothing", forVerbs(inputVerbs, { stdin: "" }), { code: 6 }),
  steps(9, "closed standard input", "nothing", closedStdin),
  steps(9, "a directory as standard input", "nothing", directoryAsStdin),
  steps(10, "VERSION answers while standard input stays open", "nothing", async (site) => {
    const run = await site.run({ verb: "VERSION" }, { feed: () => undefined, killAfterMs: 5000 });
    expectOutcome(run, "success");
  }),
  steps(11, "a result of 3 MB is complete, also for a late reader", "pod", async (site) => {
    const stdin = { prevResult: { ...site.pod.result(), padding: "é".repeat(1_500_000) } };
    expectOutcome(await site.run({ verb: "ADD", stdin }, readLate), "success");
  }),
  steps(12, "a reader that closes stdout makes the verb fail, quietly", "pod", cutStdout),
  steps(13, "nothing holds stdout open after the exit", "pod", async (site) => {
    for (const run of await lifecycle(site))
      assert.ok(run.lingerMs < 1000, `${run.verb}: ${run.lingerMs} ms`);
  }),
  steps(14, "an environment of CNI_* alone", "pod", async (site) => {
    for (const run of await lifecycle(site)) expectOutcome(run, "success");
  }),
  steps(15, "an unlinked working directory", "pod", unlinkedFolder),
  steps(15, "a read-only root", "pod", readOnlyRoot),
  steps(16, "without terminal and without network", "pod", async (site) => {
    const argv = ["/usr/bin/unshare", "-n", "/usr/bin/setsid", "--wait", "$PLUGIN"];
    for (const verb of ["ADD", "CHECK", "DEL"] as const)
      expectOutcome(await site.run({ verb }, { argv }), "success");
  }),
  steps(17, "a failure of its own machinery is an error object with a code of its own", "pod", crippled),
  steps(18, "SIGKILL at any instant of ADD, then DEL, leaves nothing", "pod", killedAnytime),
  ...(["ADD", "DEL", "CHECK", "GC", "STATUS"] as const).flatMap((verb) =>
    faults.map((fault) =>
      steps(19, `${verb} ends in time with an enforcer that is ${fault}`, "nothing", (site) =>
        endsInTime(site, verb, fault),
      ),
    ),
  ),
  steps(20, "two installations at once", "enforcer", twoReleases),
  steps(21, "the output is UTF-8, one document, without byte order mark", "pod", async (site) => {
    for (const run of await lifecycle(site)) {
      const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(run.stdoutBytes);
      if (text !== "") assert.doesNotThrow(() => JSON.parse(text) as unknown);
    }
  }),
  steps(22, "__proto__, constructor, duplicate keys and depth change nothing", "pod", hostileInput),
  steps(23, "by another name, through a symbolic link", "pod", async (site) => {
    const link = join(site.folder, "other-name");
    symlinkSync(site.plugin, link);
    for (const verb of ["ADD", "CHECK", "DEL"] as const)
      expectOutcome(await site.run({ verb }, { argv: [link] }), "success");
  }),
];
