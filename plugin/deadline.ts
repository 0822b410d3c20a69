/**
 * Owns time limits: each verb's own, counted from the start of the process, and shorter ones within it.
 * No runtime limits STATUS, and containerd holds a lock meanwhile, so the plugin ends itself.
 */
import type { CniError } from "./cni-error.ts";
import type { Verb } from "./environment.ts";

/** Longest run of each verb in milliseconds, from the start of the process to its exit. */
export const verbDeadlinesMs: Readonly<Record<Verb, number>> = {
  ADD: 10_000,
  DEL: 5_000,
  CHECK: 5_000,
  GC: 10_000,
  STATUS: 900,
  VERSION: 900,
};

/** What stays of a verb's time for reporting, once waiting for the enforcer has ended. */
const reportMs: Readonly<Record<Verb, number>> = {
  ADD: 700,
  DEL: 700,
  CHECK: 500,
  GC: 700,
  STATUS: 150,
  VERSION: 0,
};

/** A point in time after which nobody waits any more. `now` is milliseconds since the start of the process. */
export class Deadline {
  readonly atMs: number;
  readonly #now: () => number;

  constructor(atMs: number, now: () => number) {
    this.atMs = atMs;
    this.#now = now;
  }

  /** When the verb itself must have ended. */
  static ofVerb(verb: Verb, now: () => number): Deadline {
    return new Deadline(verbDeadlinesMs[verb], now);
  }

  /** When waiting for the enforcer ends: `timeoutMs` from now, or so early that the verb can still report. */
  static ofEnforcer(verb: Verb, timeoutMs: number, now: () => number): Deadline {
    return new Deadline(Math.min(now() + timeoutMs, verbDeadlinesMs[verb] - reportMs[verb]), now);
  }

  /** Milliseconds left, 0 at the least. */
  remainingMs(): number {
    return Math.max(0, this.atMs - this.#now());
  }

  /** At most `ms` from now, and not later than this one. */
  within(ms: number): Deadline {
    return new Deadline(Math.min(this.atMs, this.#now() + ms), this.#now);
  }
}

/** What `work` settles to; if the deadline passes before, it throws what `late` gives. Never leaves a timer behind. */
export async function beforeDeadline<T>(
  work: Promise<T>,
  deadline: Deadline,
  late: () => CniError,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expiry = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late()), deadline.remainingMs());
  });
  try {
    return await Promise.race([work, expiry]);
  } finally {
    clearTimeout(timer);
  }
}
