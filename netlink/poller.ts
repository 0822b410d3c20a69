/** Tells which of many descriptors are readable, several times in a turn of the event loop while there are any. Source: epoll(7), addon/netlink.c. */
import { addon, type NativePoller } from "./addon.ts";
import { checked, NetlinkError } from "./error.ts";

const readyMax = 256;

/**
 * One epoll over any number of descriptors, level-triggered: what isn't read is told again. At most 256 tokens come at
 * once. It keeps the event loop alive until `unref` or `close`.
 */
export class Poller {
  readonly #ready = new Uint32Array(readyMax);
  #native: NativePoller | undefined;

  /** `tokens` is the poller's own and holds `count` of them, until the callback returns. */
  constructor(onReady: (tokens: Uint32Array, count: number) => void) {
    const native = addon().createPoller((count) => onReady(this.#ready, count), this.#ready);
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

  #open(): NativePoller {
    if (this.#native === undefined) throw new Error("the poller is closed");
    return this.#native;
  }
}
