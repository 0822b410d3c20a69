/** Owns the bounded table that every kind of connection is kept in: found by 4-tuple, and known by age, so that the oldest can leave. */
import type { FlowKey } from "./flow-key.ts";
import { sameFlow } from "./flow-key.ts";

/** What can be kept: a key that never changes, and links that belong to the table. */
export interface FlowEntry {
  readonly key: FlowKey;
  /** Monotonic; changed only by `touch`. */
  lastMs: number;
  /** The next entry in the same bucket. */
  nextInBucket: this | undefined;
}

/** Several entries may share a 4-tuple (candidates); the table's owner tells them apart. */
export class FlowTable<Entry extends FlowEntry> {
  readonly limit: number;
  private readonly buckets = new Map<number, Entry>();
  /** In the order of `lastMs`. */
  private readonly byAge = new Set<Entry>();

  constructor(limit: number) {
    this.limit = limit;
  }

  get size(): number {
    return this.byAge.size;
  }

  get full(): boolean {
    return this.byAge.size >= this.limit;
  }

  /** The newest entry of this 4-tuple. */
  find(key: FlowKey): Entry | undefined {
    let entry = this.buckets.get(key.hash);
    while (entry !== undefined && !sameFlow(entry.key, key)) entry = entry.nextInBucket;
    return entry;
  }

  /** The next older entry of the same 4-tuple. */
  findNext(after: Entry): Entry | undefined {
    let entry: Entry | undefined = after.nextInBucket;
    while (entry !== undefined && !sameFlow(entry.key, after.key)) entry = entry.nextInBucket;
    return entry;
  }

  /** The entry that has been silent for longest. */
  oldest(): Entry | undefined {
    return this.byAge.values().next().value;
  }

  /** The caller makes room first. */
  add(entry: Entry): void {
    entry.nextInBucket = this.buckets.get(entry.key.hash);
    this.buckets.set(entry.key.hash, entry);
    this.byAge.add(entry);
  }

  touch(entry: Entry, nowMs: number): void {
    entry.lastMs = nowMs;
    this.byAge.delete(entry);
    this.byAge.add(entry);
  }

  remove(entry: Entry): void {
    if (!this.byAge.delete(entry)) return;
    const first = this.buckets.get(entry.key.hash);
    if (first === entry) this.removeFirst(entry);
    else unlink(first, entry);
    entry.nextInBucket = undefined;
  }

  private removeFirst(entry: Entry): void {
    if (entry.nextInBucket === undefined) this.buckets.delete(entry.key.hash);
    else this.buckets.set(entry.key.hash, entry.nextInBucket);
  }
}

function unlink<Entry extends FlowEntry>(first: Entry | undefined, entry: Entry): void {
  let before = first;
  while (before !== undefined && before.nextInBucket !== entry) before = before.nextInBucket;
  if (before !== undefined) before.nextInBucket = entry.nextInBucket;
}
