/** Counts what the worker decides, and keeps decisions until the main thread is told. Bounded: what does not fit is counted as lost. */
import type { FlowRecord } from "../handshake/flow-record.ts";
import type { Reason } from "../reason.ts";
import type { FlowEvent, FromWorker } from "./messages.ts";

const FLOWS_KEPT = 8_192;
const FAILURES_KEPT = 10;

export class Reporter {
  readonly #packets = new Map<Reason, number>();
  #flows: FlowEvent[] = [];
  #flowsLost = 0;
  #failures = new Set<string>();
  #isChanged = false;

  /** Packets that were refused, or passed, for this reason. */
  count(reason: Reason, packets = 1): void {
    this.#packets.set(reason, (this.#packets.get(reason) ?? 0) + packets);
    this.#isChanged = true;
  }

  /** One decision, made at the wall-clock time `timeMs`. */
  flow(record: FlowRecord, timeMs: number): void {
    if (this.#flows.length < FLOWS_KEPT) this.#flows.push({ timeMs, record });
    else this.#flowsLost += 1;
    this.#isChanged = true;
  }

  /** An operation of the kernel that failed. */
  failure(error: unknown): void {
    this.count("queue-error");
    this.note(error);
  }

  /** An error that the operator should read; its packet is counted elsewhere. */
  note(error: unknown): void {
    this.#isChanged = true;
    if (this.#failures.size < FAILURES_KEPT)
      this.#failures.add(error instanceof Error ? error.message : String(error));
  }

  /** What has happened since the last call; undefined if nothing has. */
  take(): Extract<FromWorker, { kind: "report" }> | undefined {
    if (!this.#isChanged) return undefined;
    const report = {
      kind: "report",
      flows: this.#flows,
      flowsLost: this.#flowsLost,
      packets: new Map(this.#packets),
      failures: [...this.#failures],
    } as const;
    this.#flows = [];
    this.#flowsLost = 0;
    this.#failures = new Set();
    this.#isChanged = false;
    return report;
  }
}
