/** `make bench`: every measure of the benchmark in one run, printed as tables and written to build/bench.json. README.md says how to read it. */
import { writeFileSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";
import { join } from "node:path";
import { repository } from "../harness/binaries.ts";
import { sweepDeadLabs, withLab } from "../harness/lab.ts";
import { withContestants, type Contestant } from "./contestants.ts";
import { measureBulk, type BulkPlan } from "./bulk.ts";
import { measureConnect, type ConnectPlan } from "./connect.ts";
import { measureDense, type DensePlan } from "./dense.ts";
import { measureLoss, type LossPlan } from "./loss.ts";
import { measurePlugin } from "./plugin-cost.ts";
import { compilePrograms } from "./programs.ts";
import { BenchRecord } from "./record.ts";
import { measureSurvival } from "./survival.ts";

interface Plan {
  readonly connect: ConnectPlan;
  readonly bulk: BulkPlan;
  readonly loss: LossPlan;
  readonly dense: DensePlan;
  readonly pluginRounds: number;
  readonly kills: number;
}

const full: Plan = {
  connect: { sequence: { rounds: 40, seconds: 0.4 }, rounds: 7, seconds: 2.5, singles: 12, warmUpSeconds: 8 },
  bulk: { rounds: 24, turns: 40 },
  loss: { rounds: 5, connections: 1_600 },
  dense: { pods: 250, rounds: 5, seconds: 3, floodSeconds: 300 },
  pluginRounds: 25,
  kills: 5,
};

const quick: Plan = {
  connect: { sequence: { rounds: 5, seconds: 0.4 }, rounds: 3, seconds: 0.7, singles: 2, warmUpSeconds: 3 },
  bulk: { rounds: 3, turns: 20 },
  loss: { rounds: 3, connections: 300 },
  dense: { pods: 250, rounds: 2, seconds: 0.7, floodSeconds: 6 },
  pluginRounds: 5,
  kills: 1,
};

const begunMs = performance.now();

function say(line: string): void {
  const seconds = ((performance.now() - begunMs) / 1_000).toFixed(0).padStart(4);
  process.stderr.write(`${seconds} s  ${line}\n`);
}

async function measureAll(record: BenchRecord, plan: Plan): Promise<void> {
  say("contestants");
  await withContestants(async (contestants) => {
    say("connections");
    await measureConnect(record, contestants, plan.connect);
    say("bulk");
    await measureBulk(record, contestants, plan.bulk);
    say("loss");
    await measureLoss(record, contestants, plan.loss);
    say(`${plan.dense.pods} pods`);
    await withLab((lab) => measureDense(lab, record, pkiOf(contestants), plan.dense));
  });
  say("ADD and DEL");
  await withLab((lab) => measurePlugin(lab, record, plan.pluginRounds));
  say("survival");
  await measureSurvival(record, plan.kills);
  recordRatios(record);
}

function pkiOf(contestants: readonly Contestant[]): Contestant {
  const found = contestants.find(({ name }) => name === "pki");
  if (found === undefined) throw new Error("there is no contestant with PKI");
  return found;
}

function recordRatios(record: BenchRecord): void {
  record.atMost("connect p50, PKI / C reader", record.ratio("connect1", "pki", "reader"), 2);
  record.atLeast("connect rate at 32, PKI / C reader", record.ratio("rate32", "pki", "reader"), 0.6);
  record.atLeast("bulk, PKI / conntrack rules", record.ratio("bulk", "pki", "conntrack"), 0.95);
  record.atLeast("bulk, PSK / conntrack rules", record.ratio("bulk", "psk", "conntrack"), 0.95);
}

async function main(): Promise<void> {
  const isQuick = process.argv.includes("--quick");
  const record = new BenchRecord();
  const loadBefore = loadavg().map((value) => Number(value.toFixed(2)));
  sweepDeadLabs();
  await compilePrograms();
  await measureAll(record, isQuick ? quick : full);
  const machine = { cpus: cpus().length, model: cpus()[0]?.model, kernel: release(), loadBefore };
  const seconds = Math.round((performance.now() - begunMs) / 1_000);
  const document = { quick: isQuick, seconds, machine, ...record.toDocument() };
  writeFileSync(join(repository, "build/bench.json"), `${JSON.stringify(document, undefined, 2)}\n`);
  process.stdout.write(
    `${record.toText()}\n\n${seconds} s, load before ${loadBefore.join(" ")}; build/bench.json\n`,
  );
  process.exitCode = record.targets.every(({ met }) => met) ? 0 : 1;
}

await main();
