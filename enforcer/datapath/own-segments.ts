/**
 * Remembers the segments that the enforcer itself sends into a pod's namespace. They cross the outbound queue like any
 * other (a mark that would exempt them is a secret that a pod with CAP_NET_RAW could guess), and are accepted there once.
 */

/** IPv4 header without options, and IPv6 header: resets are built with neither options nor extension headers. */
const KEY_RANGE_4 = { version: 4, start: 12, end: 28 } as const;
const KEY_RANGE_6 = { version: 6, start: 8, end: 48 } as const;
const RST = 0x04;
const TTL_MS = 1_000;
const CAPACITY = 1_024;

interface Expected {
  /** Monotonic. */
  readonly untilMs: number;
  readonly times: number;
}

export class OwnSegments {
  /** By key, in order of sending. Segments of one flow that are all answered at once get the same reset. */
  readonly #sent = new Map<string, Expected>();

  /** Expects `packet`, a reset that is about to be sent, in the outbound queue. */
  remember(packet: Uint8Array, nowMs: number): void {
    if (this.#sent.size >= CAPACITY) this.#forgetOldest();
    const key = keyOf(packet);
    const times = (this.#sent.get(key)?.times ?? 0) + 1;
    this.#sent.delete(key);
    this.#sent.set(key, { untilMs: nowMs + TTL_MS, times });
  }

  /** Whether `packet` is one that was remembered; it is forgotten with this, once for each time. */
  recognise(packet: Uint8Array, nowMs: number): boolean {
    if (this.#sent.size === 0 || !isReset(packet)) return false;
    const key = keyOf(packet);
    const expected = this.#sent.get(key);
    if (expected === undefined) return false;
    if (expected.times === 1) this.#sent.delete(key);
    else this.#sent.set(key, { ...expected, times: expected.times - 1 });
    return nowMs <= expected.untilMs;
  }

  #forgetOldest(): void {
    const oldest = this.#sent.keys().next();
    if (oldest.done !== true) this.#sent.delete(oldest.value);
  }
}

/** Addresses, ports and sequence number as text. */
function keyOf(packet: Uint8Array): string {
  const range = rangeOf(packet);
  return Buffer.from(packet.buffer, packet.byteOffset, packet.length).toString(
    "latin1",
    range.start,
    range.end,
  );
}

function rangeOf(packet: Uint8Array): typeof KEY_RANGE_4 | typeof KEY_RANGE_6 {
  return (packet[0] ?? 0) >> 4 === 6 ? KEY_RANGE_6 : KEY_RANGE_4;
}

function isReset(packet: Uint8Array): boolean {
  const tcpStart = rangeOf(packet).version === 6 ? 40 : 20;
  return ((packet[tcpStart + 13] ?? 0) & RST) !== 0;
}
