/** Owns where the worker's reports go: metrics, the ring of recent decisions, and the log. */
import type { FlowDocument } from "../control/operator-messages.ts";
import { outcomeOf, PackedRing } from "../handshake/packed-flows.ts";
import type { Log } from "../log.ts";
import { FlowRing } from "../telemetry/flow-ring.ts";
import { Metrics, type CniVerb } from "../telemetry/metrics.ts";
import { RefusalLog } from "../telemetry/refusal-log.ts";
import { flowDocument } from "./flow-document.ts";
import type { WorkerReport } from "./worker-link.ts";

/** Ops that are the end of a CNI verb. An ADD takes two; a granted first one isn't its end. */
const verbs: Readonly<Record<string, CniVerb>> = {
  add: "ADD",
  enforce: "ADD",
  del: "DEL",
  check: "CHECK",
  gc: "GC",
  status: "STATUS",
};

export class TelemetryHub {
  readonly metrics = new Metrics();
  readonly #flows: FlowRing;
  readonly #refusals: RefusalLog;
  readonly #log: Log;

  constructor(flowRecords: number, log: Log) {
    this.#flows = new FlowRing(new PackedRing(flowRecords));
    this.#refusals = new RefusalLog(log, () => performance.now());
    this.#log = log;
  }

  takeReport(report: WorkerReport): void {
    const { flows } = report;
    const outcomes = Array.from({ length: flows.count }, (_, index) => outcomeOf(flows, index));
    this.metrics.takeReport(outcomes, report.packets);
    this.#flows.push(flows);
    this.#flows.addLost(report.flowsLost);
    this.#refusals.take(this.metrics.counters, report.units);
    for (const problem of report.failures) this.#log.error("datapath", { problem });
  }

  /** Writes the log lines that have become due. Call about once a second. */
  tick(): void {
    this.#refusals.take(this.metrics.counters, new Map());
  }

  /** Counts a request on the control socket: every refused one, and every one that ends a CNI verb. Code 0: granted. */
  countRequest(op: string, code: number): void {
    if (code !== 0) this.metrics.countControlRefusal(code);
    const verb = Object.hasOwn(verbs, op) ? verbs[op] : undefined;
    if (verb === undefined || (op === "add" && code === 0)) return;
    this.metrics.countRequest(verb, code);
  }

  recentFlows(): FlowDocument[] {
    return this.#flows.recent().map(flowDocument);
  }

  get missingFlows(): number {
    return this.#flows.missing;
  }

  followFlows(listener: (flow: FlowDocument) => void): () => void {
    return this.#flows.follow((flow) => listener(flowDocument(flow)));
  }
}
