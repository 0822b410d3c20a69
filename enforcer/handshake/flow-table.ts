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
  /** In the order of `lastMs`. */
  older: this | undefined;
  newer: this | undefined;
}

/**
 * Several entries may share a 4-tuple (candidates); the table's owner tells them apart. Age is a list through the entries themselves: a
 * Set in which every packet deletes and adds grows, is copied and collected all the time.
 */
export class FlowTable<Entry extends FlowEntry> {
  readonly limit: number;
  private readonly buckets = new Map<number, Entry>();
  private count = 0;
  private first: Entry | undefined;
  private last: Entry | undefined;

  constructor(limit: number) {
    this.limit = limit;
  }

  get size(): number {
    return this.count;
  }

  get full(): boolean {
    return this.count >= this.limit;
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
    return this.first;
  }

  /** The caller makes room first. */
  add(entry: Entry): void {
    entry.nextInBucket = this.buckets.get(entry.key.hash);
    this.buckets.set(entry.key.hash, entry);
    this.append(entry);
  }

  touch(entry: Entry, nowMs: number): void {
    entry.lastMs = nowMs;
    if (this.last === entry) return;
    this.takeOut(entry);
    this.append(entry);
  }

  remove(entry: Entry): void {
    if (entry.older === undefined && this.first !== entry) return;
    this.takeOut(entry);
    const first = this.buckets.get(entry.key.hash);
    if (first === entry) this.removeFirst(entry);
    else unlink(first, entry);
    entry.nextInBucket = undefined;
  }

  private append(entry: Entry): void {
    this.count += 1;
    entry.older = this.last;
    if (this.last === undefined) this.first = entry;
    else this.last.newer = entry;
    this.last = entry;
  }

  private takeOut(entry: Entry): void {
    this.count -= 1;
    const { older, newer } = entry;
    if (older === undefined) this.first = newer;
    else older.newer = newer;
    if (newer === undefined) this.last = older;
    else newer.older = older;
    entry.older = entry.newer = undefined;
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
