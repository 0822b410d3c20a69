/** Connect rate, latency and CPU time, in interleaved rounds over all contestants. */
import type { Contestant } from "./contestants.ts";
import { interleaved, prepareForLoad } from "./contestants.ts";
import { cpuUs } from "./process-cost.ts";
import { runLoad, type LoadOptions, type LoadResult } from "./programs.ts";
import type { BenchRecord, Measure } from "./record.ts";
import { median } from "./statistics.ts";

export interface ConnectPlan {
  /** One connection at a time: short rounds, since a machine's pace changes within tenths of a second, and so many of them. */
  readonly sequence: { readonly rounds: number; readonly seconds: number };
  /** All the rest. */
  readonly rounds: number;
  /** Of one load with 32 connections. */
  readonly seconds: number;
  /** Connections made one by one, each by a new process. */
  readonly singles: number;
  /** Of the load before the first round, at most: until what runs often has been compiled. */
  readonly warmUpSeconds: number;
}

const COUNT_MAX = 400_000;
const bases = ["none", "reader"];
const time = (title: string): Measure => ({ title, unit: "µs", against: bases });

const measures = {
  connect1: time("connect p50, 1 connection"),
  connect1p99: time("connect p99, 1 connection"),
  exchange1: time("connect + byte there and back p50, 1 connection"),
  rate1: { title: "connect rate, 1 connection", unit: "/s", against: bases },
  rate32: { title: "connect rate, 32 connections", unit: "/s", against: bases },
  connect32: time("connect p50, 32 connections"),
  connect32p99: time("connect p99, 32 connections"),
  exchange32: time("connect + byte there and back p50, 32 connections"),
  cpu: { title: "CPU of both readers a connection", unit: "µs", against: ["reader"] },
  first: time("connect, one connection by a new process (first contact: pki-cold)"),
} as const;

function load({ client, server }: Contestant, options: Omit<LoadOptions, "count">): Promise<LoadResult> {
  return runLoad(client.namespace, [server.address], { count: COUNT_MAX, ...options });
}

/** Throws when connections failed: on a network without loss that is a fault, not a figure. */
function mustBeWhole(what: string, result: LoadResult): LoadResult {
  const { begun, done } = result;
  if (done !== begun || done === 0)
    throw new Error(`${what}: ${begun - done} of ${begun} connections failed: ${JSON.stringify(result)}`);
  return result;
}

export async function measureConnect(
  record: BenchRecord,
  contestants: readonly Contestant[],
  plan: ConnectPlan,
): Promise<void> {
  const warmUp: LoadOptions = { concurrency: 32, count: 12_000, seconds: plan.warmUpSeconds };
  for (const { client, server } of contestants) await runLoad(client.namespace, [server.address], warmUp);
  for (const { contestant } of interleaved(contestants, plan.sequence.rounds))
    await measureSequence(record, contestant, plan.sequence.seconds);
  for (const { contestant } of interleaved(contestants, plan.rounds)) {
    await measureParallel(record, contestant, plan.seconds);
    await measureFirst(record, contestant, plan.singles);
  }
}

async function measureSequence(record: BenchRecord, contestant: Contestant, seconds: number): Promise<void> {
  const { name } = contestant;
  const result = mustBeWhole(`${name}, 1 connection`, await load(contestant, { concurrency: 1, seconds }));
  record.add("connect1", measures.connect1, name, result.connectUs.p50);
  record.add("connect1p99", measures.connect1p99, name, result.connectUs.p99);
  record.add("exchange1", measures.exchange1, name, result.exchangeUs.p50);
  record.add("rate1", measures.rate1, name, result.done / result.seconds);
}

async function measureParallel(record: BenchRecord, contestant: Contestant, seconds: number): Promise<void> {
  const { name, readers } = contestant;
  const cpu = () => readers.reduce((total, pid) => total + cpuUs(pid), 0);
  const before = cpu();
  const result = mustBeWhole(`${name}, 32 connections`, await load(contestant, { concurrency: 32, seconds }));
  record.add("rate32", measures.rate32, name, result.done / result.seconds);
  record.add("connect32", measures.connect32, name, result.connectUs.p50);
  record.add("connect32p99", measures.connect32p99, name, result.connectUs.p99);
  record.add("exchange32", measures.exchange32, name, result.exchangeUs.p50);
  if (readers.length > 0) record.add("cpu", measures.cpu, name, (cpu() - before) / result.done);
}

/** One connection by a process that has just started, for all alike; then, for PKI, of a pair whose tokens nobody has seen. */
async function measureFirst(record: BenchRecord, contestant: Contestant, singles: number): Promise<void> {
  const { name } = contestant;
  record.add("first", measures.first, name, await medianSingle(contestant, singles));
  if (name !== "pki") return;
  const cold = await medianSingle(contestant, singles, () => attachAnew(contestant));
  record.add("first", measures.first, "pki-cold", cold);
  await prepareForLoad([contestant.client.namespace, contestant.server.namespace]);
}

async function medianSingle(
  { client, server }: Contestant,
  singles: number,
  before?: () => Promise<void>,
): Promise<number> {
  const times: number[] = [];
  for (let index = 0; index < singles; index++) {
    await before?.();
    const one = { concurrency: 1, count: 1, seconds: 5 };
    times.push(mustBeWhole("one", await runLoad(client.namespace, [server.address], one)).connectUs.p50);
  }
  return median(times);
}

/** DEL and ADD of our plugin alone, at both ends: two tokens that no enforcer has verified yet. */
async function attachAnew({ client, server }: Contestant): Promise<void> {
  for (const { chain, attachment, result } of [client, server]) {
    const [previous, us] = chain.list.plugins;
    if (us === undefined || previous === undefined) throw new Error("a chain of two plugins was expected");
    for (const verb of ["DEL", "ADD"]) {
      const { status, stdout, stderr } = await chain.run(verb, us, attachment, result);
      if (status !== 0) throw new Error(`${us.type} ${verb}: ${stdout}${stderr}`);
    }
  }
}
