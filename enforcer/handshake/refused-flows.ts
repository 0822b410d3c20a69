/** Owns the memory of what was refused, so that a SYN that TCP sends again is one decision and one record, and a flood of datagrams one a second. */
import type { Reason } from "../reason.ts";
import type { FlowKey } from "./flow-key.ts";
import { copyFlowKey } from "./flow-key.ts";
import type { FlowEntry } from "./flow-table.ts";
import { FlowTable } from "./flow-table.ts";

const datagramRecordMs = 1_000;

interface Refused extends FlowEntry {
  nextInBucket: this | undefined;
  older: this | undefined;
  newer: this | undefined;
  /** A SYN's sequence number, or -1 - protocol of a datagram. */
  readonly mark: number;
  readonly reason: Reason;
}

export class RefusedFlows {
  private readonly table: FlowTable<Refused>;

  constructor(limit: number) {
    this.table = new FlowTable(limit);
  }

  /** Remembers the refusal of a SYN; false if this SYN was refused for the same reason before. */
  noteSyn(key: FlowKey, isn: number, reason: Reason, nowMs: number): boolean {
    const known = this.find(key, isn, reason);
    if (known !== undefined) this.table.touch(known, nowMs);
    else this.add(key, isn, reason, nowMs);
    return known === undefined;
  }

  /** Remembers the refusal of a datagram; false if one of its flow was refused for the same reason within the last second. */
  noteDatagram(key: FlowKey, protocol: number, reason: Reason, nowMs: number): boolean {
    const known = this.find(key, -1 - protocol, reason);
    if (known !== undefined && nowMs - known.lastMs < datagramRecordMs) return false;
    if (known !== undefined) this.table.touch(known, nowMs);
    else this.add(key, -1 - protocol, reason, nowMs);
    return true;
  }

  private find(key: FlowKey, mark: number, reason: Reason): Refused | undefined {
    const known = this.table.find(key);
    return known?.mark === mark && known.reason === reason ? known : undefined;
  }

  private add(key: FlowKey, mark: number, reason: Reason, nowMs: number): void {
    const leaving = this.table.find(key) ?? (this.table.full ? this.table.oldest() : undefined);
    if (leaving !== undefined) this.table.remove(leaving);
    this.table.add({
      key: copyFlowKey(key),
      lastMs: nowMs,
      nextInBucket: undefined,
      older: undefined,
      newer: undefined,
      mark,
      reason,
    });
  }

  oldest(): Refused | undefined {
    return this.table.oldest();
  }

  remove(entry: Refused): void {
    this.table.remove(entry);
  }
}
