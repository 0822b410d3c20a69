/**
 * Owns what a server keeps of a connection after it authorised it: enough to repeat its SYN-ACK byte for byte and to know the
 * client's tag again. A preallocated ring of 128-byte entries, the oldest leaving first. Source: design, "TCP stays TCP".
 *
 *   0 local address (16) │ 16 remote address (16) │ 32 ports (4) │ 36 hash (4) │ 40 client ISN (4) │ 44 server ISN (4)
 *   48 last SYN-ACK, ms (8) │ 56 own token's number (4) │ 60 window (2) │ 62 in use (1) │ 64 nonce (16) │ 80 tag S (16)
 *   96 tag C (16) │ 112 next slot in the bucket (4) │ 116 – 127 free
 */
import type { FlowKey } from "./flow-key.ts";

const entryLength = 128;
const at = {
  words: 0,
  ports: 32,
  hash: 36,
  clientIsn: 40,
  serverIsn: 44,
  lastMs: 48,
  tokenId: 56,
  window: 60,
  used: 62,
  nonce: 64,
  tagS: 80,
  tagC: 96,
  next: 112,
} as const;
const none = -1;

/** One entry, or what makes one. In an entry that `find` returns the byte arrays are views of the ring: valid until the next `add`. */
export interface Answered {
  readonly clientIsn: number;
  readonly serverIsn: number;
  readonly lastMs: number;
  /** Of `TokenLog`. */
  readonly tokenId: number;
  readonly window: number;
  readonly nonce: Uint8Array;
  readonly tagS: Uint8Array;
  readonly tagC: Uint8Array;
}

const keyWords = [
  "local0",
  "local1",
  "local2",
  "local3",
  "remote0",
  "remote1",
  "remote2",
  "remote3",
] as const;

export class AnsweredRing {
  private readonly size: number;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly heads: Int32Array;
  private nextSlot = 0;

  /** `size` entries, all memory taken at once. */
  constructor(size: number) {
    this.size = size;
    this.bytes = new Uint8Array(size * entryLength);
    this.view = new DataView(this.bytes.buffer);
    this.heads = new Int32Array(1 << Math.ceil(Math.log2(Math.max(2, size)))).fill(none);
  }

  /** Keeps an entry, in place of an older one of the same 4-tuple, or of the oldest. */
  add(key: FlowKey, entry: Answered): void {
    this.remove(key);
    if (this.size === 0) return;
    const slot = this.nextSlot;
    this.nextSlot = (slot + 1) % this.size;
    if (this.isUsed(slot)) this.unlink(slot);
    this.writeKey(slot, key);
    this.writeEntry(slot, entry);
    this.link(slot);
  }

  /** The entry of a 4-tuple. */
  find(key: FlowKey): Answered | undefined {
    const slot = this.slotOf(key);
    if (slot === none) return undefined;
    const base = slot * entryLength;
    return {
      clientIsn: this.view.getUint32(base + at.clientIsn),
      serverIsn: this.view.getUint32(base + at.serverIsn),
      lastMs: this.view.getFloat64(base + at.lastMs),
      tokenId: this.view.getInt32(base + at.tokenId),
      window: this.view.getUint16(base + at.window),
      nonce: this.bytes.subarray(base + at.nonce, base + at.nonce + 16),
      tagS: this.bytes.subarray(base + at.tagS, base + at.tagS + 16),
      tagC: this.bytes.subarray(base + at.tagC, base + at.tagC + 16),
    };
  }

  /** The SYN-ACK was repeated. */
  touch(key: FlowKey, nowMs: number): void {
    const slot = this.slotOf(key);
    if (slot !== none) this.view.setFloat64(slot * entryLength + at.lastMs, nowMs);
  }

  remove(key: FlowKey): void {
    const slot = this.slotOf(key);
    if (slot !== none) this.unlink(slot);
  }

  private writeKey(slot: number, key: FlowKey): void {
    const base = slot * entryLength;
    keyWords.forEach((name, index) => this.view.setInt32(base + at.words + index * 4, key[name]));
    this.view.setInt32(base + at.ports, key.ports);
    this.view.setInt32(base + at.hash, key.hash);
  }

  private writeEntry(slot: number, entry: Answered): void {
    const base = slot * entryLength;
    this.view.setUint32(base + at.clientIsn, entry.clientIsn);
    this.view.setUint32(base + at.serverIsn, entry.serverIsn);
    this.view.setFloat64(base + at.lastMs, entry.lastMs);
    this.view.setInt32(base + at.tokenId, entry.tokenId);
    this.view.setUint16(base + at.window, entry.window);
    this.bytes.set(entry.nonce, base + at.nonce);
    this.bytes.set(entry.tagS, base + at.tagS);
    this.bytes.set(entry.tagC, base + at.tagC);
  }

  private isUsed(slot: number): boolean {
    return this.bytes[slot * entryLength + at.used] === 1;
  }

  private slotOf(key: FlowKey): number {
    let slot = this.heads[key.hash & (this.heads.length - 1)] ?? none;
    while (slot !== none && !this.hasKey(slot, key)) slot = this.nextOf(slot);
    return slot;
  }

  private hasKey(slot: number, key: FlowKey): boolean {
    const base = slot * entryLength;
    return (
      this.view.getInt32(base + at.ports) === key.ports &&
      keyWords.every((name, index) => this.view.getInt32(base + at.words + index * 4) === key[name])
    );
  }

  private nextOf(slot: number): number {
    return this.view.getInt32(slot * entryLength + at.next);
  }

  private bucketOf(slot: number): number {
    return this.view.getInt32(slot * entryLength + at.hash) & (this.heads.length - 1);
  }

  private link(slot: number): void {
    const bucket = this.bucketOf(slot);
    this.view.setInt32(slot * entryLength + at.next, this.heads[bucket] ?? none);
    this.heads[bucket] = slot;
    this.bytes[slot * entryLength + at.used] = 1;
  }

  private unlink(slot: number): void {
    const bucket = this.bucketOf(slot);
    this.bytes[slot * entryLength + at.used] = 0;
    if (this.heads[bucket] === slot) {
      this.heads[bucket] = this.nextOf(slot);
      return;
    }
    let before = this.heads[bucket] ?? none;
    while (before !== none && this.nextOf(before) !== slot) before = this.nextOf(before);
    if (before !== none) this.view.setInt32(before * entryLength + at.next, this.nextOf(slot));
  }
}
