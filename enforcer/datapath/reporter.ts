/** Counts what the worker decides, and keeps decisions until the main thread is told. Bounded: what does not fit is counted as lost. */
import type { FlowRecord } from "../handshake/flow-record.ts";
import { FlowPacker } from "../handshake/packed-flows.ts";
import { errorText } from "../operation-error.ts";
import type { Reason } from "../reason.ts";
import type { FromWorker } from "./messages.ts";

const ALLOWED_KEPT = 8_192;
/** Whoever can send packets can make refusals, as many as he likes; they are counted in any case. */
const REFUSED_KEPT = 256;
const FAILURES_KEPT = 10;

export class Reporter {
  readonly #packets = new Map<Reason, number>();
  #units = new Map<Reason, string>();
  readonly #flows = new FlowPacker();
  #refused = 0;
  #flowsLost = 0;
  #failures = new Set<string>();
  #isChanged = false;

  /** Packets that were refused, or passed, for this reason; `puId` names the unit that they were for, where there is one. */
  count(reason: Reason, packets = 1, puId?: string): void {
    this.#packets.set(reason, (this.#packets.get(reason) ?? 0) + packets);
    if (puId !== undefined) this.#units.set(reason, puId);
    this.#isChanged = true;
  }

  /** One decision, made at the wall-clock time `timeMs`, `latencyUs` after its connection's first segment as far as this end took it. */
  flow(record: FlowRecord, timeMs: number, latencyUs?: number): void {
    this.#isChanged = true;
    if (!this.#hasRoom(record)) {
      this.#flowsLost += 1;
      return;
    }
    if (record.verdict === "deny") this.#refused += 1;
    this.#flows.add(record, timeMs, latencyUs);
  }

  /** What was allowed has its room whatever is refused. */
  #hasRoom({ verdict }: FlowRecord): boolean {
    return verdict === "deny"
      ? this.#refused < REFUSED_KEPT
      : this.#flows.count - this.#refused < ALLOWED_KEPT;
  }

  /** An operation of the kernel that failed. */
  failure(error: unknown): void {
    this.count("queue-error");
    this.note(error);
  }

  /** An error that the operator should read; its packet is counted elsewhere. */
  note(error: unknown): void {
    this.#isChanged = true;
    if (this.#failures.size < FAILURES_KEPT) this.#failures.add(errorText(error));
  }

  /** What has happened since the last call; undefined if nothing has. */
  take(): Extract<FromWorker, { kind: "report" }> | undefined {
    if (!this.#isChanged) return undefined;
    const report = {
      kind: "report",
      flows: this.#flows.take(),
      flowsLost: this.#flowsLost,
      packets: new Map(this.#packets),
      units: this.#units,
      failures: [...this.#failures],
    } as const;
    this.#refused = 0;
    this.#units = new Map();
    this.#flowsLost = 0;
    this.#failures = new Set();
    this.#isChanged = false;
    return report;
  }
}
