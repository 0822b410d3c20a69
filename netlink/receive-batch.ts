/** The buffer that datagrams are received into: allocated once, shared by all sockets of a thread. */
import { addon } from "./addon.ts";
import { NetlinkError } from "./error.ts";
import { EAGAIN } from "./errno.ts";

/** The addon receives no more than this in one call. */
const slotsMax = 64;

/** `slots` (at most 64) places of `slotBytes` each. What is in it lasts until the next `receive`. */
export class ReceiveBatch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #slotBytes: number;
  readonly #lengths: Int32Array;

  constructor(slots: number, slotBytes: number) {
    this.bytes = new Uint8Array(slots * slotBytes);
    this.view = new DataView(this.bytes.buffer);
    this.#slotBytes = slotBytes;
    this.#lengths = new Int32Array(Math.min(slots, slotsMax));
  }

  /** Takes what is there, without waiting; returns how many datagrams, 0 if none. */
  receive(fd: number): number {
    const count = addon().receive(fd, this.bytes, this.#slotBytes, this.#lengths);
    if (count >= 0) return count;
    if (count === -EAGAIN) return 0;
    throw new NetlinkError("receive", -count);
  }

  /** Where datagram `index` begins in `bytes` and `view`. */
  offset(index: number): number {
    return index * this.#slotBytes;
  }

  /** Bytes of datagram `index` that are here; 0 for one that another process sent (netlink), which is to be ignored. */
  length(index: number): number {
    const length = this.#lengths[index] ?? 0;
    return length < 0 ? this.#slotBytes : length;
  }

  /** Whether datagram `index` was longer than its slot, and so cut. */
  truncated(index: number): boolean {
    return (this.#lengths[index] ?? 0) < 0;
  }
}
