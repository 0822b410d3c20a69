/** Owns the log lines about refused packets and connections: for each reason one at once, then one every ten seconds that counts. */
import type { Log } from "../log.ts";
import type { Reason } from "../reason.ts";

const INTERVAL_MS = 10_000;

/** Not refusals. */
const passed: ReadonlySet<Reason> = new Set<Reason>(["rule-allow", "address-allow"]);

/** What an enforcer at work refuses every day; everything else is worth a warning. */
const expected: ReadonlySet<Reason> = new Set<Reason>([
  "rule-deny",
  "no-rule",
  "no-policy",
  "no-egress",
  "address-deny",
  "no-address-rule",
  "no-connection",
  "connection-expired",
  "connection-evicted",
]);

interface Line {
  writtenAtMs: number;
  /** The count that has been written. */
  written: number;
}

/** Bounded by the list of reasons, whatever is sent: that is why lines are not written packet by packet. */
export class RefusalLog {
  readonly #log: Log;
  readonly #now: () => number;
  readonly #lines = new Map<Reason, Line>();
  readonly #units = new Map<Reason, string>();

  /** `now`: monotonic, in milliseconds. */
  constructor(log: Log, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  /** Takes the counters as they are, and the units that met a reason lately; writes what is due. Call often. */
  take(counters: ReadonlyMap<Reason, number>, units: ReadonlyMap<Reason, string>): void {
    for (const [reason, puId] of units) this.#units.set(reason, puId);
    for (const [reason, total] of counters) if (!passed.has(reason)) this.#writeIfDue(reason, total);
  }

  #writeIfDue(reason: Reason, total: number): void {
    const line = this.#lines.get(reason);
    const count = total - (line?.written ?? 0);
    const nowMs = this.#now();
    if (count === 0 || (line !== undefined && nowMs - line.writtenAtMs < INTERVAL_MS)) return;
    this.#lines.set(reason, { writtenAtMs: nowMs, written: total });
    const level = expected.has(reason) ? "info" : "warn";
    this.#log[level](`refused: ${reason}`, { count, pu: this.#units.get(reason) });
  }
}
