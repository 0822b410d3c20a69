/** Owns the memory of inbound SYNs that were refused, so that a SYN that TCP sends again is one decision, and one record. */
import type { Reason } from "../reason.ts";
import type { FlowKey } from "./flow-key.ts";
import { copyFlowKey } from "./flow-key.ts";
import type { FlowEntry } from "./flow-table.ts";
import { FlowTable } from "./flow-table.ts";

interface RefusedSyn extends FlowEntry {
  nextInBucket: this | undefined;
  readonly isn: number;
  readonly reason: Reason;
}

export class RefusedSyns {
  private readonly table: FlowTable<RefusedSyn>;

  constructor(limit: number) {
    this.table = new FlowTable(limit);
  }

  /** Remembers the refusal; false if this SYN was refused for the same reason before. */
  note(key: FlowKey, isn: number, reason: Reason, nowMs: number): boolean {
    const known = this.table.find(key);
    if (known?.isn === isn && known.reason === reason) {
      this.table.touch(known, nowMs);
      return false;
    }
    const leaving = known ?? (this.table.full ? this.table.oldest() : undefined);
    if (leaving !== undefined) this.table.remove(leaving);
    this.table.add({ key: copyFlowKey(key), lastMs: nowMs, nextInBucket: undefined, isn, reason });
    return true;
  }

  oldest(): RefusedSyn | undefined {
    return this.table.oldest();
  }

  remove(entry: RefusedSyn): void {
    this.table.remove(entry);
  }
}
