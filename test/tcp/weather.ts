/**
 * The weather on a router: an NFQUEUE reader behind its forward hook that sees every TCP segment on its way between two kernels, and loses,
 * copies, delays or reorders those that a test chooses. Source: linux/netfilter/nfnetlink_queue.h, by way of netlink/queue.ts.
 */
import { formatAddress } from "../../enforcer/policy/addresses.ts";
import { writeDestinationAddress, writeSourceAddress } from "../../enforcer/packet/addresses.ts";
import { optionMarker, Packet, payloadLength, protocolTcp } from "../../enforcer/packet/packet.ts";
import { parsePacket } from "../../enforcer/packet/parse.ts";
import { closeFd, openNetns } from "../../netlink/netns.ts";
import { action, match, rule } from "../../netlink/nftables/builder.ts";
import { Nftables } from "../../netlink/nftables/nftables.ts";
import { Poller } from "../../netlink/poller.ts";
import { createQueuePacket, decodeQueuePacket, VerdictWriter } from "../../netlink/queue.ts";
import { QueueSocket } from "../../netlink/queue-socket.ts";
import { RawSocket } from "../../netlink/raw-socket.ts";
import { ReceiveBatch } from "../../netlink/receive-batch.ts";
import { waitFor } from "../harness/command.ts";
import { namespacePath } from "../harness/lab.ts";

const QUEUE = 77;
const TABLE = { family: "inet", name: "weather" } as const;

/** A TCP segment as it came to the router. */
export interface Segment {
  readonly version: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  /** Byte 13 of the header, ECN bits included. */
  readonly flags: number;
  /** As on the wire, unscaled. */
  readonly window: number;
  /** Of data; our own messages in SYN and SYN-ACK count. */
  readonly length: number;
  readonly hasMarker: boolean;
  /** Tag C, the client's proof. */
  readonly hasTag: boolean;
  /** Monotonic time at which it was seen. */
  readonly seenMs: number;
}

export type Which = (segment: Segment) => boolean;

const flagsAre =
  (mask: number, value: number): Which =>
  ({ flags }) =>
    (flags & mask) === value;

/** Kinds of segments, by their flags alone (ECN bits aside). */
export const segmentIs = {
  syn: flagsAre(0x17, 0x02),
  synAck: flagsAre(0x17, 0x12),
  /** Nothing but an acknowledgement. */
  bareAck: (segment) => flagsAre(0x17, 0x10)(segment) && segment.length === 0,
  /** Bytes of an application. */
  data: (segment) => flagsAre(0x06, 0)(segment) && segment.length > 0,
  fin: flagsAre(0x05, 0x01),
  reset: flagsAre(0x04, 0x04),
} as const satisfies Record<string, Which>;

/** What was asked of the weather, and what came of it. */
class Intervention {
  /** The segments it happened to, in the order they came. */
  readonly segments: Segment[] = [];
  readonly #times: number;

  constructor(times: number) {
    this.#times = times;
  }

  /** Whether it has happened as often as was asked. */
  get over(): boolean {
    return this.segments.length >= this.#times;
  }

  /** Waits until it has happened as often as was asked; throws after `timeoutMs`. */
  async happened(timeoutMs = 20_000): Promise<readonly Segment[]> {
    await waitFor(`${this.#times} segments of a kind on the router`, () => this.over, timeoutMs, 5);
    return this.segments;
  }
}

/** Segments that wait on the router. */
class Hold extends Intervention {
  readonly #ids: number[] = [];
  readonly #accept: (ids: readonly number[]) => void;

  constructor(times: number, accept: (ids: readonly number[]) => void) {
    super(times);
    this.#accept = accept;
  }

  take(id: number): void {
    this.#ids.push(id);
  }

  /** Lets what waits go on, in the order it came or the other way round. What comes later is held, as long as `times` lasts. */
  release(order: "as-it-came" | "reversed" = "as-it-came"): void {
    const ids = this.#ids.splice(0);
    this.#accept(order === "reversed" ? ids.reverse() : ids);
  }
}

type Fate = { readonly kind: "drop" } | { readonly kind: "copy"; readonly copies: number } | HoldFate;
interface HoldFate {
  readonly kind: "hold";
  readonly hold: Hold;
  /** The segment behind which everything held goes on. */
  readonly until: Which | undefined;
}

interface Plan {
  readonly which: Which;
  readonly intervention: Intervention;
  readonly fate: Fate;
}

export interface Times {
  /** How many segments it happens to, the first that match; 1 if absent. */
  readonly times?: number;
}

/**
 * Sees the TCP that a router forwards. Of several plans for a segment the oldest that isn't over counts. Without any
 * plan everything goes on as it came. Works in the event loop of its maker, so its maker must not block.
 */
export class Weather {
  /** Every segment that came, whatever became of it, in order; copies of ours aren't among them. */
  readonly seen: Segment[] = [];
  readonly #nftables: Nftables;
  readonly #socket: QueueSocket;
  readonly #raw: { readonly 4: RawSocket; readonly 6: RawSocket };
  readonly #poller: Poller;
  readonly #batch = new ReceiveBatch(32, 70_000);
  readonly #verdicts = new VerdictWriter();
  readonly #queued = createQueuePacket();
  readonly #packet = new Packet();
  #plans: Plan[] = [];

  /** From now on TCP that the namespace forwards, in both families, crosses a queue of its own. */
  static over(namespace: string): Weather {
    const netns = openNetns(namespacePath(namespace));
    try {
      return new Weather(netns);
    } finally {
      closeFd(netns);
    }
  }

  private constructor(netns: number) {
    this.#socket = QueueSocket.open({ netns, queues: [QUEUE], maxLength: 8192 });
    this.#raw = { 4: RawSocket.open({ netns, version: 4 }), 6: RawSocket.open({ netns, version: 6 }) };
    this.#nftables = Nftables.open({ netns });
    const hook = { type: "filter", hook: "forward", priority: 0, policy: "accept" } as const;
    const rules = [rule(match.protocol(protocolTcp), action.queue(QUEUE))];
    this.#nftables.replace([{ ...TABLE, chains: [{ name: "forward", hook, rules }] }]);
    this.#poller = new Poller(() => this.#serve());
    this.#poller.add(this.#socket.fd, 1);
    this.#poller.unref();
  }

  /** Loses the next segments of a kind. */
  drop(which: Which, { times = 1 }: Times = {}): Intervention {
    return this.#plan(which, new Intervention(times), { kind: "drop" });
  }

  /** Loses segments by chance, each with that probability, the same ones for the same `seed` and order of segments. */
  lose(probability: number, seed: number, which: Which = () => true): Intervention {
    const next = randomNumbers(seed);
    return this.drop((segment) => which(segment) && next() < probability, { times: Infinity });
  }

  /** Sends `copies` more of each of the next segments of a kind, right behind it. */
  duplicate(
    which: Which,
    { times = 1, copies = 1 }: Times & { readonly copies?: number } = {},
  ): Intervention {
    return this.#plan(which, new Intervention(times), { kind: "copy", copies });
  }

  /** Keeps the next segments of a kind until `release`, or until a segment that is `until` has gone on before them. */
  hold(which: Which, { times = 1, until }: Times & { readonly until?: Which } = {}): Hold {
    const hold = new Hold(times, (ids) => this.#accept(ids));
    this.#plan(which, hold, { kind: "hold", hold, until });
    return hold;
  }

  /** The segments of one connection, in both directions, by the client's port. */
  connection(clientPort: number): Segment[] {
    return this.seen.filter(
      ({ sourcePort, destinationPort }) => sourcePort === clientPort || destinationPort === clientPort,
    );
  }

  /** Fair weather: no plan is left, and what waited goes on. */
  clear(): void {
    for (const { fate } of this.#plans.splice(0)) if (fate.kind === "hold") fate.hold.release();
  }

  /** Everything that waits is lost, and the router forwards by itself again. */
  close(): void {
    this.#nftables.remove([TABLE]);
    this.#nftables.close();
    this.#poller.close();
    for (const resource of [this.#socket, this.#raw[4], this.#raw[6]]) resource.close();
  }

  #plan<T extends Intervention>(which: Which, intervention: T, fate: Fate): T {
    this.#plans.push({ which, intervention, fate });
    return intervention;
  }

  #serve(): void {
    const received = this.#socket.receive(this.#batch);
    for (let index = 0; index < received; index++) this.#take(index);
    this.#socket.send(this.#verdicts);
  }

  #take(index: number): void {
    const { view, bytes } = this.#batch;
    const kind = decodeQueuePacket(view, this.#batch.offset(index), this.#batch.length(index), this.#queued);
    if (kind !== "packet") return;
    const { id, payloadOffset, payloadLength: length } = this.#queued;
    const reason = parsePacket(bytes, payloadOffset, length, this.#packet);
    if (reason !== undefined) throw new Error(`the router forwards what isn't TCP: ${reason}`);
    const segment = describe(this.#packet);
    this.seen.push(segment);
    this.#decide(segment, id, bytes.subarray(payloadOffset, payloadOffset + length));
  }

  #decide(segment: Segment, id: number, bytes: Uint8Array): void {
    const plan = this.#plans.find(({ which, intervention }) => !intervention.over && which(segment));
    plan?.intervention.segments.push(segment);
    if (plan?.fate.kind === "drop") this.#verdicts.drop(QUEUE, id);
    else if (plan?.fate.kind === "hold") plan.fate.hold.take(id);
    else this.#pass(segment, id, bytes, plan?.fate.copies ?? 0);
  }

  /** A verdict takes effect when it is sent, a copy at once: so the verdict goes first. */
  #pass(segment: Segment, id: number, bytes: Uint8Array, copies: number): void {
    this.#accept([id]);
    for (let copy = 0; copy < copies; copy++) this.#raw[segment.version].send(bytes);
    for (const { fate } of this.#plans)
      if (fate.kind === "hold" && fate.until?.(segment) === true) fate.hold.release();
  }

  #accept(ids: readonly number[]): void {
    for (const id of ids) this.#verdicts.accept(QUEUE, id, undefined);
    this.#socket.send(this.#verdicts);
  }
}

function describe(packet: Packet): Segment {
  const source = new Uint8Array(16);
  const destination = new Uint8Array(16);
  writeSourceAddress(packet, source);
  writeDestinationAddress(packet, destination);
  return {
    version: packet.version,
    source: formatAddress(source),
    destination: formatAddress(destination),
    sourcePort: packet.sourcePort,
    destinationPort: packet.destinationPort,
    sequence: packet.sequence,
    acknowledgement: packet.acknowledgement,
    flags: packet.flags,
    window: packet.window,
    length: payloadLength(packet),
    hasMarker: (packet.options & optionMarker) !== 0,
    hasTag: packet.tagOffset >= 0,
    seenMs: performance.now(),
  };
}

/** Mulberry32: numbers in [0, 1), the same for the same seed. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
