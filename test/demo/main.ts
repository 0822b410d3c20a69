/**
 * `make demo`: two nodes, four pods, one policy; who may connect to whom, by which rule, at what cost, and what was on the
 * wire. Every line is an observation. Exits 0 only if everything observed is what the policy says.
 *
 * Usage: main.ts [POLICY_FILE]
 */
import { copyFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { repository, triremeBinary } from "../harness/binaries.ts";
import { run } from "../harness/command.ts";
import { sweepDeadLabs, withLab, type Lab } from "../harness/lab.ts";
import { connectTimes } from "../harness/traffic.ts";
import { isAsExpected, tryAll, type Trial } from "./attempts.ts";
import { seenSegments, startCapture, type SeenSegment } from "./capture.ts";
import { buildStage, type Stage } from "./stage.ts";

const LATENCY_SAMPLES = 50;
const CAPTURE_FILE = join(repository, "build", "demo.pcap");

function say(line = ""): void {
  process.stdout.write(`${line}\n`);
}

async function demo(lab: Lab, policyFile: string): Promise<boolean> {
  say(`Policy: ${policyFile}`);
  const stage = await buildStage(lab, policyFile, say);
  for (const { role, pod } of stage.actors) {
    const labels = Object.entries(role.labels).map(([key, value]) => `${key}=${value}`);
    say(
      `  ${role.name.padEnd(6)} ${pod.address.padEnd(12)} on ${role.node}  labels ${labels.join(",")}  serves port ${role.port}`,
    );
  }
  const capture = join(lab.folder, "demo.pcap");
  const tcpdump = await startCapture(lab, stage.cluster.router, capture);
  const trials = await tryAll(stage.actors, policyFile);
  showTrials(trials);
  await showLatency(trials);
  await tcpdump.stop();
  await showWire(trials, capture);
  return showSummary(trials, stage);
}

function showTrials(trials: readonly Trial[]): void {
  say("\nWho connects to whom (policy = `trireme policy test`, the rest was observed):");
  say("  from   to:port        policy  connect()           client's end             server's end");
  for (const trial of trials) {
    const { from, to, attempt, expected, client, server } = trial;
    const target = `${to.role.name}:${to.role.port}`;
    const outcome = attempt.connectUs === undefined ? attempt.outcome : `connected ${ms(attempt.connectUs)}`;
    const ends = `${endText(client, "asked, no answer").padEnd(24)} ${endText(server, "never asked")}`;
    const flag = isAsExpected(trial) ? " " : "!";
    say(
      `${flag} ${from.role.name.padEnd(6)} ${target.padEnd(14)} ${expected.padEnd(7)} ${outcome.padEnd(19)} ${ends}`,
    );
  }
}

function endText(seen: Trial["client"], none: string): string {
  if (seen === undefined) return none;
  return `${seen.verdict} ${seen.rule ?? `(${seen.reason})`}`;
}

async function showLatency(trials: readonly Trial[]): Promise<void> {
  const trial = trials.find(
    ({ expected, from, to }) => expected === "allow" && from.role.node !== to.role.node,
  );
  if (trial === undefined) return;
  const { from, to } = trial;
  const attempts = await connectTimes(from.pod.namespace, to.pod.address, to.role.port, {
    times: LATENCY_SAMPLES,
  });
  const connects = attempts.flatMap(({ connectUs }) => (connectUs === undefined ? [] : [connectUs]));
  const added = await Promise.all([from, to].map(({ enforcer }) => enforcer.flows()));
  const addedUs = added.map((flows) =>
    median(flows.filter(({ verdict }) => verdict === "allow").map(({ latencyUs }) => Number(latencyUs ?? 0))),
  );
  say(
    `\nLatency, ${from.role.name} to ${to.role.name}, median of ${connects.length}: connect() ${ms(median(connects))}, of which our`,
  );
  say(
    `  enforcers held its segments for ${ms(addedUs[0] ?? 0)} (client's end) and ${ms(addedUs[1] ?? 0)} (server's end).`,
  );
}

async function showWire(trials: readonly Trial[], capture: string): Promise<void> {
  const isCaptured = ({ from, to, expected }: Trial): boolean =>
    expected === "allow" && from.role.node !== to.role.node;
  const trial = trials.find(isCaptured);
  if (trial === undefined) return;
  say(`\nOn the wire, ${trial.from.role.name} to ${trial.to.role.name}:`);
  for (const segment of await seenSegments(capture, trial.to.role.port)) say(`  ${segmentText(segment)}`);
  copyFileSync(capture, CAPTURE_FILE);
  say("  The capture is build/demo.pcap; Wireshark opens it.");
}

function segmentText({ segment, packetBytes, tokenBytes, certificateBytes, token }: SeenSegment): string {
  const sizes = `${packetBytes} bytes: token ${tokenBytes}, certificate ${certificateBytes}`;
  return `${segment.padEnd(7)} ${sizes}; the token says ${JSON.stringify(token["attributes"])}`;
}

function showSummary(trials: readonly Trial[], stage: Stage): boolean {
  const allowed = trials.filter(({ attempt }) => attempt.outcome === "connected").length;
  const wrong = trials.filter((trial) => !isAsExpected(trial));
  say(
    `\n${trials.length} pairs: ${allowed} connected, ${trials.length - allowed} refused, ${wrong.length} not as the policy says.`,
  );
  if (wrong.length > 0)
    for (const { node, log } of stage.enforcers) say(`Log of ${node.name}:\n${log.slice(-4_000)}`);
  return wrong.length === 0;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function ms(us: number): string {
  return `${(us / 1_000).toFixed(2)} ms`;
}

async function main(): Promise<number> {
  const policyFile = process.argv[2] ?? join(import.meta.dirname, "policy.yaml");
  if (!existsSync(policyFile)) {
    process.stderr.write(`demo: ${policyFile}: no such policy file\n`);
    return 2;
  }
  const check = await run([triremeBinary(), "policy", "check", policyFile]);
  if (check.status !== 0) {
    process.stderr.write(`${check.stdout}${check.stderr}`);
    return 1;
  }
  // The lab removes everything when the process exits, however it comes to that.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.once(signal, () => process.exit(130));
  sweepDeadLabs();
  const beganMs = performance.now();
  const isGood = await withLab((lab) => demo(lab, policyFile));
  say(`Everything is removed again. ${((performance.now() - beganMs) / 1_000).toFixed(1)} s.`);
  return isGood ? 0 : 1;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  },
);
