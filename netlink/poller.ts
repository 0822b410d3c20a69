/** Tells which of many descriptors are readable, several times in a turn of the event loop while there are any. Source: epoll(7), addon/netlink.c. */
import { addon, type NativePoller } from "./addon.ts";
import { checked, NetlinkError } from "./error.ts";

const readyMax = 256;

export interface PollerOptions {
  /**
   * Wait for the next descriptor where the last one was served, instead of in the event loop: the reader is woken sooner. Timers,
   * immediates, messages and whatever the loop watches already get their turn as ever. What else a callback leaves behind (promises'
   * continuations, a connection to be opened) waits for the next of these.
   */
  readonly lingers?: boolean;
}

/**
 * One epoll over any number of descriptors, level-triggered: what isn't read is told again. At most 256 tokens come at
 * once. It keeps the event loop alive until `unref` or `close`.
 */
export class Poller {
  readonly #ready = new Uint32Array(readyMax);
  #native: NativePoller | undefined;

  /** `tokens` is the poller's own and holds `count` of them, until the callback returns. */
  constructor(
    onReady: (tokens: Uint32Array, count: number) => void,
    { lingers = false }: PollerOptions = {},
  ) {
    const native = addon().createPoller((count) => {
      for (let ready = count; ready > 0; ready = lingers ? this.#next() : 0) onReady(this.#ready, ready);
    }, this.#ready);
    if (typeof native === "number") throw new NetlinkError("create a poller", -native);
    this.#native = native;
  }

  /** Watches `fd`; `token` (32 bits, unsigned) names it in the callback. Remove it before you close it. */
  add(fd: number, token: number): void {
    checked(`watch descriptor ${fd}`, addon().pollerAdd(this.#open(), fd, token));
  }

  remove(fd: number): void {
    checked(`unwatch descriptor ${fd}`, addon().pollerRemove(this.#open(), fd));
  }

  ref(): void {
    addon().pollerRef(this.#open(), 1);
  }

  unref(): void {
    addon().pollerRef(this.#open(), 0);
  }

  /** Watches nothing any more; the descriptors stay open. */
  close(): void {
    if (this.#native !== undefined) addon().pollerClose(this.#native);
    this.#native = undefined;
  }

  /** How many are ready next; 0: the event loop's turn. */
  #next(): number {
    return this.#native === undefined ? 0 : addon().pollerNext(this.#native, this.#ready);
  }

  #open(): NativePoller {
    if (this.#native === undefined) throw new Error("the poller is closed");
    return this.#native;
  }
}
