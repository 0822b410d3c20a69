/** Owns the memory of flows authorised lately: their segments may have been queued before the mark was set, or lost the mark to a sidecar. */
import type { FlowKey } from "./flow-key.ts";
import { copyFlowKey } from "./flow-key.ts";
import type { FlowEntry } from "./flow-table.ts";
import { FlowTable } from "./flow-table.ts";

interface RecentFlow extends FlowEntry {
  nextInBucket: this | undefined;
  /** Of our own stack's SYN-ACK, where we are the server. */
  readonly serverIsn: number | undefined;
}

export class RecentFlows {
  private readonly table: FlowTable<RecentFlow>;
  private readonly lifetimeMs: number;

  constructor(limit: number, lifetimeMs: number) {
    this.table = new FlowTable(limit);
    this.lifetimeMs = lifetimeMs;
  }

  get size(): number {
    return this.table.size;
  }

  /** From now on segments of this flow are known to be authorised. */
  remember(key: FlowKey, nowMs: number, serverIsn?: number): void {
    const known = this.table.find(key);
    if (known !== undefined && known.serverIsn === serverIsn) this.table.touch(known, nowMs);
    else {
      if (known !== undefined) this.table.remove(known);
      this.add({ key: copyFlowKey(key), lastMs: nowMs, nextInBucket: undefined, serverIsn });
    }
  }

  private add(flow: RecentFlow): void {
    const oldest = this.table.full ? this.table.oldest() : undefined;
    if (oldest !== undefined) this.table.remove(oldest);
    this.table.add(flow);
  }

  /** Whether the flow was authorised and has been seen since; seeing it again renews that. */
  recognise(key: FlowKey, nowMs: number): boolean {
    const known = this.table.find(key);
    if (known === undefined || nowMs - known.lastMs > this.lifetimeMs) return false;
    this.table.touch(known, nowMs);
    return true;
  }

  /** A new connection takes this 4-tuple. */
  forget(key: FlowKey): void {
    const known = this.table.find(key);
    if (known !== undefined) this.table.remove(known);
  }

  /** Our stack sends a SYN-ACK: unless it repeats that of the flow we know, a new connection takes this 4-tuple. */
  forgetOther(key: FlowKey, serverIsn: number): void {
    const known = this.table.find(key);
    if (known !== undefined && known.serverIsn !== serverIsn) this.table.remove(known);
  }

  expire(nowMs: number): void {
    let oldest = this.table.oldest();
    while (oldest !== undefined && nowMs - oldest.lastMs > this.lifetimeMs) {
      this.table.remove(oldest);
      oldest = this.table.oldest();
    }
  }
}
