/**
 * Owns what a server keeps of a connection after it authorised it: enough to repeat its SYN-ACK byte for byte and to know the client's
 * tag again, in 128 bytes. The oldest leaves first, or earlier, when its SYN-ACK can't be repeated any more. Source: design, "TCP stays TCP".
 */
import type { FlowKey } from "./flow-key.ts";
import { noSlot, PackedTable } from "./packed-table.ts";

/** The words of an entry; byte strings of 16 take four. */
const at = { clientIsn: 0, serverIsn: 1, tokenId: 2, window: 3, nonce: 4, tagS: 8, tagC: 12 } as const;
const entryWords = 16;

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

/** How many entries all rings of a node hold together. At its end, whichever has most of them gives its oldest: a flood on one PU costs the others nothing. */
export class AnsweredRoom {
  private readonly limit: number;
  private readonly rings = new Set<AnsweredRing>();
  private used = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  join(ring: AnsweredRing): void {
    this.rings.add(ring);
  }

  leave(ring: AnsweredRing): void {
    if (this.rings.delete(ring)) this.used -= ring.size;
  }

  /** Room for one more entry. */
  take(): void {
    if (this.used >= this.limit) this.fullest()?.dropOldest();
    this.used += 1;
  }

  give(): void {
    this.used -= 1;
  }

  private fullest(): AnsweredRing | undefined {
    let fullest: AnsweredRing | undefined;
    for (const ring of this.rings) if (ring.size > (fullest?.size ?? 0)) fullest = ring;
    return fullest;
  }
}

export class AnsweredRing {
  private readonly limit: number;
  private readonly room: AnsweredRoom;
  private readonly table = new PackedTable(entryWords);

  /** `limit` entries at most, and no more than there is room for. */
  constructor(limit: number, room: AnsweredRoom) {
    this.limit = limit;
    this.room = room;
    room.join(this);
  }

  get size(): number {
    return this.table.size;
  }

  /** Keeps an entry, in place of an older one of the same 4-tuple, or of the oldest. */
  add(key: FlowKey, entry: Answered): void {
    this.remove(key);
    if (this.limit === 0) return;
    if (this.table.size >= this.limit) this.dropOldest();
    this.room.take();
    const slot = this.table.add(key, entry.lastMs);
    this.table.set(slot, at.clientIsn, entry.clientIsn);
    this.table.set(slot, at.serverIsn, entry.serverIsn);
    this.table.set(slot, at.tokenId, entry.tokenId);
    this.table.set(slot, at.window, entry.window);
    const bytes = this.table.bytes(slot, at.nonce, 48);
    bytes.set(entry.nonce, 0);
    bytes.set(entry.tagS, 16);
    bytes.set(entry.tagC, 32);
  }

  /** The entry of a 4-tuple. */
  find(key: FlowKey): Answered | undefined {
    const { table } = this;
    const slot = table.find(key);
    if (slot === noSlot) return undefined;
    return {
      clientIsn: table.get(slot, at.clientIsn) >>> 0,
      serverIsn: table.get(slot, at.serverIsn) >>> 0,
      lastMs: table.lastMs(slot),
      tokenId: table.get(slot, at.tokenId),
      window: table.get(slot, at.window),
      nonce: table.bytes(slot, at.nonce, 16),
      tagS: table.bytes(slot, at.tagS, 16),
      tagC: table.bytes(slot, at.tagC, 16),
    };
  }

  /** The SYN-ACK was repeated. */
  touch(key: FlowKey, nowMs: number): void {
    const slot = this.table.find(key);
    if (slot !== noSlot) this.table.touch(slot, nowMs);
  }

  remove(key: FlowKey): void {
    const slot = this.table.find(key);
    if (slot !== noSlot) this.drop(slot);
  }

  dropOldest(): void {
    const slot = this.table.oldest();
    if (slot !== noSlot) this.drop(slot);
  }

  /** Entries leave that have been silent for longer than `silentMs`. */
  expire(nowMs: number, silentMs: number): void {
    const { table } = this;
    for (
      let slot = table.oldest();
      slot !== noSlot && nowMs - table.lastMs(slot) > silentMs;
      slot = table.oldest()
    )
      this.drop(slot);
    table.compact();
  }

  /** Gives its room to the others; the ring must not be used any more. */
  close(): void {
    this.room.leave(this);
  }

  private drop(slot: number): void {
    this.table.remove(slot);
    this.room.give();
  }
}
