/**
 * The man in the middle: sees every TCP segment that comes to the router before it is routed, keeps or changes what it likes, and
 * sends what it likes from any address. Source: linux/netfilter/nfnetlink_queue.h and raw(7), by way of netlink/.
 */
import { closeFd, openNetns } from "../../netlink/netns.ts";
import { action, match, rule } from "../../netlink/nftables/builder.ts";
import { Nftables } from "../../netlink/nftables/nftables.ts";
import { Poller } from "../../netlink/poller.ts";
import { createQueuePacket, decodeQueuePacket, VerdictWriter } from "../../netlink/queue.ts";
import { QueueSocket } from "../../netlink/queue-socket.ts";
import { RawSocket } from "../../netlink/raw-socket.ts";
import { ReceiveBatch } from "../../netlink/receive-batch.ts";
import { buildSegment, readSegment, type Segment, type SegmentFields } from "../handshake/segments.ts";
import { namespacePath } from "../harness/lab.ts";

const QUEUE = 66;
const TABLE = { family: "inet", name: "mallory" } as const;
const TCP = 6;
const REPEAT_MS = 250;

export type Which = (segment: Segment) => boolean;

/** Segments that Mallory wants to see, in the order they come. */
export class Capture {
  readonly seen: Segment[] = [];
  readonly which: Which;
  readonly #waiting: { which: Which; resolve: (segment: Segment) => void }[] = [];
  #next = 0;

  constructor(which: Which) {
    this.which = which;
  }

  take(segment: Segment): void {
    this.seen.push(segment);
    const at = this.#waiting.findIndex(({ which }) => which(segment));
    if (at < 0) return;
    this.#next = this.seen.length;
    this.#waiting.splice(at, 1)[0]?.resolve(segment);
  }

  /** The next segment of a kind, after the one that was asked for before; never, if none comes. */
  next(which: Which = () => true): Promise<Segment> {
    const at = this.seen.findIndex((segment, index) => index >= this.#next && which(segment));
    const found = this.seen[at];
    if (found === undefined) return new Promise((resolve) => this.#waiting.push({ which, resolve }));
    this.#next = at + 1;
    return Promise.resolve(found);
  }
}

type Fate = "stolen" | "seen" | ((segment: Segment) => Partial<Segment>);

interface Plan {
  readonly capture: Capture;
  readonly fate: Fate;
}

/** Works in the event loop of its maker, so its maker must not block. */
export class Mallory {
  readonly #nftables: Nftables;
  readonly #socket: QueueSocket;
  readonly #raw: { readonly 4: RawSocket; readonly 6: RawSocket };
  readonly #poller: Poller;
  readonly #batch = new ReceiveBatch(32, 70_000);
  readonly #verdicts = new VerdictWriter();
  readonly #queued = createQueuePacket();
  readonly #plans: Plan[] = [];
  readonly #insisting = new Set<NodeJS.Timeout>();

  /** From now on all TCP that comes to this namespace crosses Mallory's hands. */
  static at(namespace: string): Mallory {
    const netns = openNetns(namespacePath(namespace));
    try {
      return new Mallory(netns);
    } finally {
      closeFd(netns);
    }
  }

  private constructor(netns: number) {
    this.#socket = QueueSocket.open({ netns, queues: [QUEUE] });
    this.#raw = { 4: RawSocket.open({ netns, version: 4 }), 6: RawSocket.open({ netns, version: 6 }) };
    this.#nftables = Nftables.open({ netns });
    const hook = { type: "filter", hook: "prerouting", priority: -300, policy: "accept" } as const;
    const rules = [rule(match.protocol(TCP), action.queue(QUEUE))];
    this.#nftables.replace([{ ...TABLE, chains: [{ name: "prerouting", hook, rules }] }]);
    this.#poller = new Poller(() => this.#serve());
    this.#poller.add(this.#socket.fd, 1);
    this.#poller.unref();
  }

  /** These go no further: they are Mallory's. */
  steal(which: Which): Capture {
    return this.#plan(which, "stolen");
  }

  /** These are seen, and go on. */
  watch(which: Which): Capture {
    return this.#plan(which, "seen");
  }

  /** These go on as somebody else would have sent them. The capture has them as they came. */
  alter(which: Which, change: (segment: Segment) => Partial<Segment>): Capture {
    return this.#plan(which, change);
  }

  /** Sends a segment, with right checksums, from whatever address it names. */
  send(fields: SegmentFields): void {
    const packet = buildSegment(fields);
    const errno = this.#raw[fields.to.includes(":") ? 6 : 4].send(packet);
    if (errno !== 0) throw new Error(`Mallory can't send: errno ${errno}`);
  }

  /** Sends segments, one after the other, and again and again as TCP does, until stopped. */
  insist(segments: readonly SegmentFields[]): () => void {
    const sendAll = (): void => segments.forEach((segment) => this.send(segment));
    sendAll();
    const timer = setInterval(sendAll, REPEAT_MS);
    this.#insisting.add(timer);
    return () => {
      clearInterval(timer);
      this.#insisting.delete(timer);
    };
  }

  /** Sends nothing any more. What was planned for segments that come stays. */
  rest(): void {
    for (const timer of this.#insisting) clearInterval(timer);
    this.#insisting.clear();
  }

  close(): void {
    this.rest();
    this.#nftables.remove([TABLE]);
    this.#nftables.close();
    this.#poller.close();
    for (const resource of [this.#socket, this.#raw[4], this.#raw[6]]) resource.close();
  }

  #plan(which: Which, fate: Fate): Capture {
    const capture = new Capture(which);
    this.#plans.push({ capture, fate });
    return capture;
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
    const { id, payloadOffset, payloadLength } = this.#queued;
    const segment = readSegment(bytes.slice(payloadOffset, payloadOffset + payloadLength));
    const verdict = this.#judge(segment);
    if (verdict === "drop") this.#verdicts.drop(QUEUE, id);
    else this.#verdicts.accept(QUEUE, id, undefined, verdict);
  }

  /** All who want to see a segment do; the first who changes or steals it has its way. */
  #judge(segment: Segment): Buffer | "drop" | undefined {
    const plans = this.#plans.filter(({ capture }) => capture.which(segment));
    for (const { capture } of plans) capture.take(segment);
    const fate = plans.map((plan) => plan.fate).find((one) => one !== "seen");
    if (fate === undefined) return undefined;
    return fate === "stolen" ? "drop" : buildSegment({ ...segment, ...fate(segment) });
  }
}
