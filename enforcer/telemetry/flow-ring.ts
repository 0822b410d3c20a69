/** Owns the recent decisions: a ring of fixed size that readers can look back into and follow. */
import type { PackedFlows, PackedRing, TimedFlow } from "../handshake/packed-flows.ts";

export type FlowListener = (flow: TimedFlow) => void;

/** Keeps the last decisions, as many as there are slots. Listeners are called at once, in the order of arrival, and must not throw. */
export class FlowRing {
  readonly #slots: PackedRing;
  readonly #listeners = new Set<FlowListener>();
  #total = 0;
  #lost = 0;

  constructor(slots: PackedRing) {
    this.#slots = slots;
  }

  push(flows: PackedFlows): void {
    const { size } = this.#slots;
    for (let index = Math.max(0, flows.count - size); index < flows.count; index += 1)
      this.#slots.put((this.#total + index) % size, flows, index);
    this.#total += flows.count;
    if (this.#listeners.size > 0) this.#tell(flows);
  }

  #tell(flows: PackedFlows): void {
    for (let index = 0; index < flows.count; index += 1) {
      const flow = this.#slots.read(flows, index);
      for (const listener of this.#listeners) listener(flow);
    }
  }

  /** Counts decisions that never got here. */
  addLost(count: number): void {
    this.#lost += count;
  }

  /** Decisions that were made and can't be shown any more: overwritten, or lost on the way. */
  get missing(): number {
    return this.#lost + Math.max(0, this.#total - this.#slots.size);
  }

  /** What the ring holds, oldest first. */
  recent(): TimedFlow[] {
    const { size } = this.#slots;
    const kept = Math.min(size, this.#total);
    return Array.from({ length: kept }, (_, index) => this.#slots.get((this.#total - kept + index) % size));
  }

  /** Calls `listener` for each new decision until the function returned is called. */
  follow(listener: FlowListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }
}
