/**
 * Owns the storage of connections that are kept for long and in great number: found by 4-tuple, known by age, and packed into arrays of
 * numbers, which the garbage collector neither copies nor walks. It grows with what is in it, and shrinks again.
 *
 * A slot's words: 0 – 7 addresses │ 8 ports │ 9 hash │ 10 next slot in the bucket │ 11 older │ 12 newer │ 13 … the owner's
 */
import type { FlowKey } from "./flow-key.ts";

export const noSlot = -1;
const next = 10;
const older = 11;
const newer = 12;
const ownWords = 13;
const leastCapacity = 16;

/** At most one entry for each 4-tuple. A slot stays where it is until the next `add` or `compact`. */
export class PackedTable {
  private readonly width: number;
  private words = new Int32Array(0);
  private times = new Float64Array(0);
  private heads = new Int32Array(0);
  private count = 0;
  /** Slots that were never used begin here; those that were freed are a list through `next`. */
  private fresh = 0;
  private freed = noSlot;
  private first = noSlot;
  private last = noSlot;

  /** Each entry has `words` 32-bit words of its owner's beside its key. */
  constructor(words: number) {
    this.width = ownWords + words;
    this.allot(leastCapacity);
  }

  get size(): number {
    return this.count;
  }

  find(key: FlowKey): number {
    let slot = this.heads[key.hash & (this.heads.length - 1)] ?? noSlot;
    while (slot !== noSlot && !this.hasKey(slot, key)) slot = this.words[slot * this.width + next] ?? noSlot;
    return slot;
  }

  /** The slot of a new entry, the youngest; the 4-tuple must not be in the table yet. */
  add(key: FlowKey, nowMs: number): number {
    if (this.count === this.times.length) this.rebuild(this.count * 2);
    const slot = this.takeFree();
    const base = slot * this.width;
    const { words } = this;
    words[base] = key.local0;
    words[base + 1] = key.local1;
    words[base + 2] = key.local2;
    words[base + 3] = key.local3;
    words[base + 4] = key.remote0;
    words[base + 5] = key.remote1;
    words[base + 6] = key.remote2;
    words[base + 7] = key.remote3;
    words[base + 8] = key.ports;
    words[base + 9] = key.hash;
    this.times[slot] = nowMs;
    this.linkBucket(slot);
    this.linkYoungest(slot);
    this.count += 1;
    return slot;
  }

  /** Makes the entry the youngest. */
  touch(slot: number, nowMs: number): void {
    this.times[slot] = nowMs;
    if (slot === this.last) return;
    this.unlinkAge(slot);
    this.linkYoungest(slot);
  }

  remove(slot: number): void {
    this.unlinkBucket(slot);
    this.unlinkAge(slot);
    this.words[slot * this.width + next] = this.freed;
    this.freed = slot;
    this.count -= 1;
  }

  /** Where the oldest entry is. */
  oldest(): number {
    return this.first;
  }

  /** When the entry was added or touched last. */
  lastMs(slot: number): number {
    return this.times[slot] ?? 0;
  }

  /** The owner's word `index` of an entry. */
  get(slot: number, index: number): number {
    return this.words[slot * this.width + ownWords + index] ?? 0;
  }

  set(slot: number, index: number, value: number): void {
    this.words[slot * this.width + ownWords + index] = value;
  }

  /** `length` bytes of an entry from the owner's word `index` on: a view, valid until the next `add` or `compact`. */
  bytes(slot: number, index: number, length: number): Uint8Array {
    return new Uint8Array(this.words.buffer, (slot * this.width + ownWords + index) * 4, length);
  }

  /** Gives memory back after most entries have left. To be called now and then. */
  compact(): void {
    const { length } = this.times;
    if (length > leastCapacity && this.count * 4 <= length) this.rebuild(length / 2);
  }

  private hasKey(slot: number, key: FlowKey): boolean {
    const { words } = this;
    const base = slot * this.width;
    return (
      words[base + 8] === key.ports &&
      words[base + 7] === key.remote3 &&
      words[base + 3] === key.local3 &&
      words[base + 6] === key.remote2 &&
      words[base + 5] === key.remote1 &&
      words[base + 4] === key.remote0 &&
      words[base + 2] === key.local2 &&
      words[base + 1] === key.local1 &&
      words[base] === key.local0
    );
  }

  private takeFree(): number {
    const slot = this.freed;
    if (slot === noSlot) return this.fresh++;
    this.freed = this.words[slot * this.width + next] ?? noSlot;
    return slot;
  }

  private bucketOf(slot: number): number {
    return (this.words[slot * this.width + 9] ?? 0) & (this.heads.length - 1);
  }

  private linkBucket(slot: number): void {
    const bucket = this.bucketOf(slot);
    this.words[slot * this.width + next] = this.heads[bucket] ?? noSlot;
    this.heads[bucket] = slot;
  }

  private unlinkBucket(slot: number): void {
    const bucket = this.bucketOf(slot);
    const after = this.words[slot * this.width + next] ?? noSlot;
    let before = this.heads[bucket] ?? noSlot;
    if (before === slot) {
      this.heads[bucket] = after;
      return;
    }
    while (this.words[before * this.width + next] !== slot)
      before = this.words[before * this.width + next] ?? noSlot;
    this.words[before * this.width + next] = after;
  }

  private linkYoungest(slot: number): void {
    this.words[slot * this.width + older] = this.last;
    this.words[slot * this.width + newer] = noSlot;
    if (this.last === noSlot) this.first = slot;
    else this.words[this.last * this.width + newer] = slot;
    this.last = slot;
  }

  private unlinkAge(slot: number): void {
    const before = this.words[slot * this.width + older] ?? noSlot;
    const after = this.words[slot * this.width + newer] ?? noSlot;
    if (before === noSlot) this.first = after;
    else this.words[before * this.width + newer] = after;
    if (after === noSlot) this.last = before;
    else this.words[after * this.width + older] = before;
  }

  private allot(capacity: number): void {
    this.words = new Int32Array(capacity * this.width);
    this.times = new Float64Array(capacity);
    this.heads = new Int32Array(capacity).fill(noSlot);
    this.freed = this.first = this.last = noSlot;
    this.fresh = this.count = 0;
  }

  /** Copies everything, the oldest first, into arrays for `capacity` entries. */
  private rebuild(capacity: number): void {
    const { words, times, width } = this;
    const begin = this.first;
    this.allot(capacity);
    for (let from = begin; from !== noSlot; from = words[from * width + newer] ?? noSlot) {
      const slot = this.fresh++;
      this.words.set(words.subarray(from * width, (from + 1) * width), slot * width);
      this.times[slot] = times[from] ?? 0;
      this.linkBucket(slot);
      this.linkYoungest(slot);
      this.count += 1;
    }
  }
}
