/** Owns the memory of flows authorised lately: their segments may have been queued before the mark was set, or lost the mark to a sidecar. */
import type { FlowKey } from "./flow-key.ts";
import { noSlot, PackedTable } from "./packed-table.ts";

/** The sequence number of our own stack's SYN-ACK, where we are the server; else the second word is 0. */
const at = { serverIsn: 0, isServer: 1 } as const;
const entryWords = 2;

export class RecentFlows {
  private readonly table = new PackedTable(entryWords);
  private readonly limit: number;
  private readonly lifetimeMs: number;

  constructor(limit: number, lifetimeMs: number) {
    this.limit = limit;
    this.lifetimeMs = lifetimeMs;
  }

  get size(): number {
    return this.table.size;
  }

  /** From now on segments of this flow are known to be authorised. */
  remember(key: FlowKey, nowMs: number, serverIsn?: number): void {
    const slot = this.renewed(key, nowMs);
    this.table.set(slot, at.serverIsn, serverIsn ?? 0);
    this.table.set(slot, at.isServer, serverIsn === undefined ? 0 : 1);
  }

  private renewed(key: FlowKey, nowMs: number): number {
    const { table } = this;
    const known = table.find(key);
    if (known !== noSlot) {
      table.touch(known, nowMs);
      return known;
    }
    if (table.size >= this.limit) table.remove(table.oldest());
    return table.add(key, nowMs);
  }

  /** Whether the flow was authorised and has been seen since; seeing it again renews that. */
  recognise(key: FlowKey, nowMs: number): boolean {
    const slot = this.table.find(key);
    if (slot === noSlot || nowMs - this.table.lastMs(slot) > this.lifetimeMs) return false;
    this.table.touch(slot, nowMs);
    return true;
  }

  /** A new connection takes this 4-tuple. */
  forget(key: FlowKey): void {
    const slot = this.table.find(key);
    if (slot !== noSlot) this.table.remove(slot);
  }

  /** Our stack sends a SYN-ACK: unless it repeats that of the flow we know, a new connection takes this 4-tuple. */
  forgetOther(key: FlowKey, serverIsn: number): void {
    const slot = this.table.find(key);
    if (slot === noSlot) return;
    const isSame =
      this.table.get(slot, at.isServer) === 1 && this.table.get(slot, at.serverIsn) === (serverIsn | 0);
    if (!isSame) this.table.remove(slot);
  }

  expire(nowMs: number): void {
    const { table, lifetimeMs } = this;
    for (
      let slot = table.oldest();
      slot !== noSlot && nowMs - table.lastMs(slot) > lifetimeMs;
      slot = table.oldest()
    )
      table.remove(slot);
    table.compact();
  }
}
