/** Owns the Prometheus metrics: their names, labels and buckets. Names are an interface: they never change their meaning. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { FlowOutcome } from "../handshake/packed-flows.ts";
import type { Reason } from "../reason.ts";

/** Verbs that `trireme_cni_requests_total` counts. */
export type CniVerb = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS";

/** From 50 µs, about what a connection costs here, to 200 ms, the longest a packet is held. */
const ADDED_SECONDS_BUCKETS = [
  50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 200e-3,
];

/** The enforcer's metrics, in a registry of their own. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #connections = this.#counter(
    "trireme_connections_total",
    "Decisions about connections, by verdict and reason.",
    ["verdict", "reason"],
  );
  readonly #packets = this.#counter(
    "trireme_packets_total",
    "Packets dropped without a decision about a connection, by reason.",
    ["reason"],
  );
  readonly #requests = this.#counter(
    "trireme_cni_requests_total",
    "Requests of the CNI plugin, by verb and CNI error code (0 = granted).",
    ["verb", "code"],
  );
  readonly #controlRefused = this.#counter(
    "trireme_control_refused_total",
    "Requests and connections that the control socket refused, by code of the control protocol.",
    ["code"],
  );
  readonly #reloadsRefused = this.#counter(
    "trireme_reloads_refused_total",
    "Changes of policy or keys that were wrong, so that what was in force stayed.",
    ["what"],
  );
  readonly #queueDropped = this.#counter(
    "trireme_queue_dropped_total",
    "Packets that the kernel dropped because a queue was full.",
    [],
  );
  readonly #pus = new Gauge({
    name: "trireme_pus",
    help: "Processing units that are enforced.",
    registers: [this.#registry],
  });
  readonly #policyGeneration = new Gauge({
    name: "trireme_policy_generation",
    help: "Which policy decides, counted from the start: it grows with every valid file that is loaded.",
    registers: [this.#registry],
  });
  readonly #added = new Histogram({
    name: "trireme_connect_added_seconds",
    help: "Time that this enforcer added to the setup of an authorised connection.",
    buckets: ADDED_SECONDS_BUCKETS,
    registers: [this.#registry],
  });
  readonly #packetTotals = new Map<Reason, number>();
  readonly #counters = new Map<Reason, number>();

  constructor() {
    this.#queueDropped.inc(0);
  }

  #counter(name: string, help: string, labelNames: string[]): Counter {
    return new Counter({ name, help, labelNames, registers: [this.#registry] });
  }

  /**
   * Takes one report of the worker: new decisions, and packet totals since its start. A packet that was dropped by one of
   * these decisions is in both, and counted once.
   */
  takeReport(decisions: readonly FlowOutcome[], packetTotals: ReadonlyMap<Reason, number>): void {
    const allowed = new Map<Reason, number>();
    const denied = new Map<Reason, number>();
    for (const { verdict, reason, latencyUs } of decisions) {
      const counts = verdict === "allow" ? allowed : denied;
      counts.set(reason, (counts.get(reason) ?? 0) + 1);
      if (verdict === "allow" && latencyUs !== undefined) this.#added.observe(latencyUs / 1e6);
    }
    this.#countDecisions("allow", allowed);
    this.#countDecisions("deny", denied);
    for (const [reason, total] of packetTotals) {
      const grown = total - (this.#packetTotals.get(reason) ?? 0);
      this.#packetTotals.set(reason, total);
      this.#countPackets(reason, grown - (denied.get(reason) ?? 0));
    }
  }

  #countDecisions(verdict: FlowOutcome["verdict"], counts: ReadonlyMap<Reason, number>): void {
    for (const [reason, count] of counts) {
      this.#connections.inc({ verdict, reason }, count);
      this.#count(reason, count);
    }
  }

  #countPackets(reason: Reason, count: number): void {
    if (count <= 0) return;
    this.#packets.inc({ reason }, count);
    this.#count(reason, count);
    if (reason === "queue-overflow") this.#queueDropped.inc(count);
  }

  #count(reason: Reason, count: number): void {
    this.#counters.set(reason, (this.#counters.get(reason) ?? 0) + count);
  }

  /** The datapath decides by this policy from now on. */
  setPolicyGeneration(generation: number): void {
    this.#policyGeneration.set(generation);
  }

  /** Counts one request of the plugin. `code` 0 is a granted one. */
  countRequest(verb: CniVerb, code: number): void {
    this.#requests.inc({ verb, code: String(code) });
  }

  /** Counts a refusal at the control socket; `code` is never 0. */
  countControlRefusal(code: number): void {
    this.#controlRefused.inc({ code: String(code) });
  }

  countRefusedReload(what: "policy" | "keys"): void {
    this.#reloadsRefused.inc({ what });
  }

  setPus(count: number): void {
    this.#pus.set(count);
  }

  /** Reason → decisions, and packets dropped without one; reasons never seen are left out. */
  get counters(): ReadonlyMap<Reason, number> {
    return this.#counters;
  }

  /** The text that Prometheus reads. */
  render(): Promise<string> {
    return this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }
}
