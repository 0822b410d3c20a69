/** Owns when own tokens are minted anew: spread at random, at half their life on average, and at once when the wall clock jumps. Source: design, "Keys and tags" and "When something fails". */

/** A mint that failed is tried again after this long. */
const retryMs = 5_000;

/**
 * When which unit's token is due. Has no clock and no randomness of its own: `nowMs` is monotonic, `random` gives [0, 1).
 *
 * A token is renewed between a quarter and three quarters of its lifetime after it was minted, uniformly: half on average, spread over
 * half a lifetime, so that units that start together don't renew together, and a handshake in hand always has a quarter left.
 */
export class RenewalSchedule {
  readonly #dueMs = new Map<string, number>();
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** A token of this lifetime was minted just now. */
  minted(puId: string, lifetimeMs: number, nowMs: number): void {
    this.#dueMs.set(puId, nowMs + lifetimeMs * (0.25 + this.#random() / 2));
  }

  /** Minting failed; it will be due again soon. */
  failed(puId: string, nowMs: number): void {
    this.#dueMs.set(puId, nowMs + retryMs);
  }

  remove(puId: string): void {
    this.#dueMs.delete(puId);
  }

  /** After a reload of keys or a jump of the clock: all are due now. */
  renewAll(): void {
    for (const puId of this.#dueMs.keys()) this.#dueMs.set(puId, -Infinity);
  }

  /** Units whose token has to be minted now. Each stays due until `minted`, `failed` or `remove`. */
  due(nowMs: number): string[] {
    return [...this.#dueMs].filter(([, dueMs]) => nowMs >= dueMs).map(([puId]) => puId);
  }
}

/** Sees jumps of the wall clock by comparing it with the monotonic one. Tokens' times are wall clock, so after a jump all are minted anew. */
export class ClockWatch {
  readonly #toleranceMs: number;
  #offsetMs: number;

  /** `toleranceMs` between two observations passes for slewing. */
  constructor(toleranceMs: number, nowMonotonicMs: number, nowWallMs: number) {
    this.#toleranceMs = toleranceMs;
    this.#offsetMs = nowWallMs - nowMonotonicMs;
  }

  /** By how much the wall clock jumped since the last call (negative: back), or undefined if it did not. Call about once a second. */
  observe(nowMonotonicMs: number, nowWallMs: number): number | undefined {
    const offsetMs = nowWallMs - nowMonotonicMs;
    const jumpMs = offsetMs - this.#offsetMs;
    this.#offsetMs = offsetMs;
    return Math.abs(jumpMs) > this.#toleranceMs ? jumpMs : undefined;
  }
}
