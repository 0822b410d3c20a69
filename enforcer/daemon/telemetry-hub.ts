/** Owns where the worker's reports go: metrics, the ring of recent decisions, and the log. */
import type { FlowDocument } from "../control/operator-messages.ts";
import type { Log } from "../log.ts";
import { FlowRing } from "../telemetry/flow-ring.ts";
import { Metrics, type CountedVerb } from "../telemetry/metrics.ts";
import { flowDocument } from "./flow-document.ts";
import type { WorkerReport } from "./worker-link.ts";

const countedVerbs: Readonly<Record<CountedVerb, true>> = {
  add: true,
  enforce: true,
  del: true,
  check: true,
  gc: true,
  status: true,
  log: true,
  list: true,
  flows: true,
  release: true,
  other: true,
};

export class TelemetryHub {
  readonly metrics = new Metrics();
  readonly #flows: FlowRing;
  readonly #log: Log;

  constructor(flowRecords: number, log: Log) {
    this.#flows = new FlowRing(flowRecords);
    this.#log = log;
  }

  takeReport(report: WorkerReport): void {
    this.metrics.takeReport(
      report.flows.map(({ record }) => record),
      report.packets,
    );
    for (const flow of report.flows) this.#flows.push(flow);
    this.#flows.addLost(report.flowsLost);
    for (const problem of report.failures) this.#log.error("datapath", { problem });
  }

  /** Counts a request on the control socket; what isn't an op of the protocol counts as `other`. */
  countRequest(op: string, code: number): void {
    this.metrics.countRequest(Object.hasOwn(countedVerbs, op) ? (op as CountedVerb) : "other", code);
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
