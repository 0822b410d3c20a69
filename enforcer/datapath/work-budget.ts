/** How much asymmetric cryptography strangers may make this node do: one bucket for all, one for each source. */

/** A token bucket: `perSecond` refills it, up to `burst`. */
interface Bucket {
  level: number;
  refilledAtMs: number;
}

export interface WorkBudgetLimits {
  /** Verifications and agreements a second, in all. */
  readonly perSecond: number;
  /** The same for one source address. */
  readonly perSourcePerSecond: number;
  /** Source addresses remembered; the one used longest ago leaves first. */
  readonly sources: number;
}

export type BudgetAnswer = "granted" | "total-exhausted" | "source-exhausted";

/**
 * Grants one unit of asymmetric work at a time. A quarter of a second's share may be taken at once, so that a node that
 * starts with many peers does not crawl, and a flood never takes more of a core than the configured rate allows.
 */
export class WorkBudget {
  readonly #limits: WorkBudgetLimits;
  readonly #total: Bucket;
  /** In order of last use. */
  readonly #sources = new Map<string, Bucket>();

  constructor(limits: WorkBudgetLimits, nowMs: number) {
    this.#limits = limits;
    this.#total = { level: burst(limits.perSecond), refilledAtMs: nowMs };
  }

  /** Takes one unit for `source` (any stable text for an address) at the monotonic time `nowMs`, or says which bucket is empty. */
  take(source: string, nowMs: number): BudgetAnswer {
    const bucket = this.#sourceBucket(source, nowMs);
    refill(bucket, this.#limits.perSourcePerSecond, nowMs);
    refill(this.#total, this.#limits.perSecond, nowMs);
    if (bucket.level < 1) return "source-exhausted";
    if (this.#total.level < 1) return "total-exhausted";
    bucket.level -= 1;
    this.#total.level -= 1;
    return "granted";
  }

  #sourceBucket(source: string, nowMs: number): Bucket {
    const known = this.#sources.get(source);
    if (known !== undefined) {
      this.#sources.delete(source);
      this.#sources.set(source, known);
      return known;
    }
    if (this.#sources.size >= this.#limits.sources) this.#forgetOldest();
    const fresh = { level: burst(this.#limits.perSourcePerSecond), refilledAtMs: nowMs };
    this.#sources.set(source, fresh);
    return fresh;
  }

  #forgetOldest(): void {
    const oldest = this.#sources.keys().next();
    if (oldest.done !== true) this.#sources.delete(oldest.value);
  }
}

function burst(perSecond: number): number {
  return Math.max(1, perSecond / 4);
}

function refill(bucket: Bucket, perSecond: number, nowMs: number): void {
  const elapsedMs = Math.max(0, nowMs - bucket.refilledAtMs);
  bucket.level = Math.min(burst(perSecond), bucket.level + (elapsedMs * perSecond) / 1000);
  bucket.refilledAtMs = nowMs;
}
