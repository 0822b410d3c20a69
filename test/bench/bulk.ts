/**
 * Throughput of authorised connections: one iperf3 stream for each contestant, and only one of them runs at a time, for a moment, in
 * turns (the others are stopped by a signal). The machine's own pace, which changes within tenths of a second, is the same for all then.
 */
import { readFileSync } from "node:fs";
import { sleep, type BackgroundProcess } from "../harness/command.ts";
import { interleaved, type Contestant } from "./contestants.ts";
import { cpuUs } from "./process-cost.ts";
import type { BenchRecord, Measure } from "./record.ts";

export interface BulkPlan {
  /** Each with new streams. */
  readonly rounds: number;
  /** Turns of each stream in a round. */
  readonly turns: number;
}

const TURN_MS = 20;
/** Of a turn, and doesn't count: the stream picks up. Streams stop for less than TCP's shortest retransmission time-out (200 ms). */
const RESUME_MS = 3;
/** What is on its way when a stream is stopped still arrives. */
const DRAIN_MS = 2;
/** Longer than any round. */
const STREAM_SECONDS = 300;

const against = ["none", "conntrack", "reader"];
const throughput: Measure = { title: "bulk, 1 stream, cubic", unit: "Gbit/s", against };
const cpu: Measure = { title: "bulk, CPU of both ends a Gbit", unit: "ms", against };

export async function measureBulk(
  record: BenchRecord,
  contestants: readonly Contestant[],
  { rounds, turns }: BulkPlan,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const streams = new Map<Contestant, Stream>();
    try {
      for (const contestant of contestants) streams.set(contestant, await open(contestant));
      for (const { contestant } of interleaved(contestants, turns)) await streams.get(contestant)?.turn();
      for (const [{ name }, stream] of streams) {
        record.add("bulk", throughput, name, stream.gigabitsPerSecond);
        record.add("bulkCpu", cpu, name, stream.cpuMsPerGigabit);
      }
    } finally {
      for (const stream of streams.values()) await stream.close();
    }
  }
}

/** A stream that has begun, and is stopped. */
async function open({ lab, client, server, iperf }: Contestant): Promise<Stream> {
  const times = ["--time", String(STREAM_SECONDS), "--interval", "0.1"];
  const argv = ["iperf3", "--client", server.address, ...times, "--congestion", "cubic", "--forceflush"];
  const process = lab.start(client.namespace, argv);
  await process.waitForOutput(/ sec /);
  return new Stream(process, iperf);
}

class Stream {
  readonly #sender: BackgroundProcess;
  readonly #receiver: number;
  readonly #cpuBefore: number;
  readonly #bitsBefore: number;
  #bits = 0;
  #ms = 0;

  constructor(sender: BackgroundProcess, receiver: number) {
    this.#sender = sender;
    this.#receiver = receiver;
    sender.child.kill("SIGSTOP");
    this.#cpuBefore = this.#cpuMs();
    this.#bitsBefore = bitsReceived(receiver);
  }

  async turn(): Promise<void> {
    this.#sender.child.kill("SIGCONT");
    await sleep(RESUME_MS);
    const bits = bitsReceived(this.#receiver);
    const begunMs = performance.now();
    await sleep(TURN_MS);
    this.#bits += bitsReceived(this.#receiver) - bits;
    this.#ms += performance.now() - begunMs;
    this.#sender.child.kill("SIGSTOP");
    await sleep(DRAIN_MS);
  }

  get gigabitsPerSecond(): number {
    return this.#bits / 1e6 / this.#ms;
  }

  /** All turns whole; it takes in what the kernel does for them on the way. */
  get cpuMsPerGigabit(): number {
    const gigabits = (bitsReceived(this.#receiver) - this.#bitsBefore) / 1e9;
    return (this.#cpuMs() - this.#cpuBefore) / gigabits;
  }

  async close(): Promise<void> {
    this.#sender.child.kill("SIGCONT");
    await this.#sender.stop();
  }

  #cpuMs(): number {
    return (cpuUs(this.#sender.pid ?? 0) + cpuUs(this.#receiver)) / 1_000;
  }
}

/** By the interface of the namespace that a process is in, with headers. */
function bitsReceived(pid: number): number {
  const [, bytes = "0"] = /^\s*eth0:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/net/dev`, "utf8")) ?? [];
  return Number(bytes) * 8;
}
