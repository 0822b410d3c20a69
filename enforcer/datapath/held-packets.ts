/** Packets that wait in the kernel's queue for asymmetric work: bounded for each queue and in all, in order of arrival. */
import type { Queue } from "../handshake/outcome.ts";
import type { NamespaceSocket } from "./namespace-socket.ts";
import type { PuDatapath } from "./pu-datapath.ts";

/** A packet that has no verdict yet. The bytes are a copy: the receive buffer moves on. */
export interface HeldPacket {
  readonly socket: NamespaceSocket;
  readonly unit: PuDatapath;
  readonly queue: Queue;
  readonly packetId: number;
  readonly mark: number;
  readonly packet: Uint8Array;
  readonly receivedMs: number;
}

export interface HeldLimits {
  readonly perQueue: number;
  readonly total: number;
  readonly holdMs: number;
}

export class HeldPackets {
  readonly #limits: HeldLimits;
  #waiting: HeldPacket[] = [];
  /** Packets waiting, by socket and queue. */
  readonly #counts = new Map<string, number>();

  constructor(limits: HeldLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#waiting.length;
  }

  /** False if the packet's queue, or all of them together, hold as many as they may. */
  add(held: HeldPacket): boolean {
    const key = keyOf(held);
    const count = this.#counts.get(key) ?? 0;
    if (count >= this.#limits.perQueue || this.#waiting.length >= this.#limits.total) return false;
    this.#counts.set(key, count + 1);
    this.#waiting.push(held);
    return true;
  }

  /** Takes everything that waits, the oldest first; what still has to wait is added again. */
  takeAll(): HeldPacket[] {
    const taken = this.#waiting;
    this.#waiting = [];
    this.#counts.clear();
    return taken;
  }

  isExpired(held: HeldPacket, nowMs: number): boolean {
    return nowMs - held.receivedMs > this.#limits.holdMs;
  }

  /** Takes out what waits for `unit`, which leaves. */
  take(unit: PuDatapath): HeldPacket[] {
    const taken: HeldPacket[] = [];
    for (const held of this.takeAll()) {
      if (held.unit === unit) taken.push(held);
      else this.add(held);
    }
    return taken;
  }
}

function keyOf(held: HeldPacket): string {
  return `${held.socket.token}/${held.queue}`;
}
