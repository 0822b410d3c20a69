/** Owns the recent decisions: a ring of fixed size that readers can look back into and follow. */
import type { FlowRecord } from "../handshake/flow-record.ts";

/** One decision, and the wall-clock time it was made at. */
export interface TimedFlow {
  readonly timeMs: number;
  readonly record: FlowRecord;
}

export type FlowListener = (flow: TimedFlow) => void;

/** Keeps the last `size` decisions. Listeners are called at once, in the order of arrival, and must not throw. */
export class FlowRing {
  readonly #slots: (TimedFlow | undefined)[];
  readonly #listeners = new Set<FlowListener>();
  #next = 0;
  #total = 0;
  #lost = 0;

  constructor(size: number) {
    this.#slots = new Array<TimedFlow | undefined>(size).fill(undefined);
  }

  push(flow: TimedFlow): void {
    this.#slots[this.#next] = flow;
    this.#next = (this.#next + 1) % this.#slots.length;
    this.#total += 1;
    for (const listener of this.#listeners) listener(flow);
  }

  /** Counts decisions that never got here. */
  addLost(count: number): void {
    this.#lost += count;
  }

  /** Decisions that were made and can't be shown any more: overwritten, or lost on the way. */
  get missing(): number {
    return this.#lost + Math.max(0, this.#total - this.#slots.length);
  }

  /** What the ring holds, oldest first. */
  recent(): TimedFlow[] {
    const ordered = [...this.#slots.slice(this.#next), ...this.#slots.slice(0, this.#next)];
    return ordered.filter((flow) => flow !== undefined);
  }

  /** Calls `listener` for each new decision until the function returned is called. */
  follow(listener: FlowListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }
}
