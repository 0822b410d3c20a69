/**
 * Owns what ICMP errors said of paths: the MTU to a destination, lower than the interface's, for a while. Source: design, "TCP stays
 * TCP"; RFC 1191 §6.3, 8201 §4. Whether an error is to be believed, who calls decides.
 */
import type { FlowKey } from "./flow-key.ts";

/** No path's MTU is believed to be smaller, in bytes: IPv4 by custom (RFC 879), IPv6 by RFC 8200 §5. */
export const leastMtus = { 4: 576, 6: 1280 } as const;

interface Path {
  readonly mtu: number;
  readonly untilMs: number;
}

export class PathMtus {
  private readonly limit: number;
  private readonly lifetimeMs: number;
  /** By destination, in the order of learning. */
  private readonly paths = new Map<string, Path>();

  constructor(limit: number, lifetimeMs: number) {
    this.limit = limit;
    this.lifetimeMs = lifetimeMs;
  }

  get size(): number {
    return this.paths.size;
  }

  /** The remote address of `key` is reached by packets of at most `mtu` bytes. What was known only ever gets lower, until it is forgotten. */
  learn(key: FlowKey, mtu: number, nowMs: number): void {
    const destination = nameOf(key);
    const lower = Math.min(mtu, this.find(destination, nowMs));
    this.paths.delete(destination);
    this.makeRoom();
    this.paths.set(destination, { mtu: lower, untilMs: nowMs + this.lifetimeMs });
  }

  /** In bytes; infinite where nothing is known. */
  mtuTo(key: FlowKey, nowMs: number): number {
    return this.paths.size === 0 ? Infinity : this.find(nameOf(key), nowMs);
  }

  expire(nowMs: number): void {
    for (const [destination, { untilMs }] of this.paths) {
      if (nowMs < untilMs) return;
      this.paths.delete(destination);
    }
  }

  private find(destination: string, nowMs: number): number {
    const path = this.paths.get(destination);
    return path === undefined || nowMs >= path.untilMs ? Infinity : path.mtu;
  }

  private makeRoom(): void {
    if (this.paths.size < this.limit) return;
    for (const oldest of this.paths.keys()) {
      this.paths.delete(oldest);
      return;
    }
  }
}

function nameOf({ remote0, remote1, remote2, remote3 }: FlowKey): string {
  return `${remote0} ${remote1} ${remote2} ${remote3}`;
}
