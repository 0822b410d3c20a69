/**
 * What a router's conntrack thinks of a connection's opening: a model of tcp_in_window with nf_conntrack_tcp_be_liberal off, since no
 * current kernel shows how older ones decide. Source: nf_conntrack_proto_tcp.c of Linux 5.10, and of 6.1 as far as it differs.
 */
import { ACK, FIN, readSegment, SYN } from "./segments.ts";
import type { Segment } from "./segments.ts";

/** `before 6.1` calls a segment below the receiver's window invalid; `since 6.1` lets it pass and learns nothing from it. */
export type Kernel = "before 6.1" | "since 6.1";

export type Opinion = "valid" | "ignored" | "invalid";

interface End {
  end: number;
  maxEnd: number;
  maxWindow: number;
  scale: number;
}

const fromStart = (a: number, b: number): number => (a - b) | 0;
const isAfter = (a: number, b: number): boolean => fromStart(a, b) > 0;
const leastAckWindow = 66_000;

function endOf({ seq, flags, data }: Segment): number {
  return (seq + data.length + ((flags & SYN) !== 0 ? 1 : 0) + ((flags & FIN) !== 0 ? 1 : 0)) >>> 0;
}

/** Of the window scale option (kind 3, RFC 7323). */
function scaleOf({ options }: Segment): number {
  const bytes = Buffer.from(options, "hex");
  for (let at = 0; at < bytes.length && bytes[at] !== 0; at += bytes[at] === 1 ? 1 : (bytes[at + 1] ?? 40))
    if (bytes[at] === 3) return bytes[at + 2] ?? 0;
  return 0;
}

/** The entry of one connection. Show it every packet that crosses the router. */
export class ConntrackEntry {
  state: "none" | "syn-sent" | "syn-received" | "established" = "none";
  readonly opinions: Opinion[] = [];
  private readonly kernel: Kernel;
  private client = "";
  private readonly ends: Record<"original" | "reply", End> = {
    original: { end: 0, maxEnd: 0, maxWindow: 0, scale: 0 },
    reply: { end: 0, maxEnd: 0, maxWindow: 0, scale: 0 },
  };

  constructor(kernel: Kernel) {
    this.kernel = kernel;
  }

  /** False for what `ct state invalid drop` drops. */
  pass(packet: Buffer): boolean {
    const segment = readSegment(packet);
    if (this.state === "none") this.client = `${segment.from} ${segment.fromPort}`;
    const direction = this.client === `${segment.from} ${segment.fromPort}` ? "original" : "reply";
    const opinion = this.judge(segment, direction);
    this.opinions.push(opinion);
    if (opinion === "valid") this.advance(segment, direction);
    return opinion !== "invalid";
  }

  private advance({ flags }: Segment, direction: "original" | "reply"): void {
    if (direction === "original" && (flags & SYN) !== 0) this.state = "syn-sent";
    else if (direction === "reply" && (flags & SYN) !== 0) this.state = "syn-received";
    else if (direction === "original" && this.state === "syn-received" && (flags & ACK) !== 0)
      this.state = "established";
  }

  private judge(segment: Segment, direction: "original" | "reply"): Opinion {
    const sender = this.ends[direction];
    const receiver = this.ends[direction === "original" ? "reply" : "original"];
    const end = endOf(segment);
    if (sender.maxWindow === 0) begin(sender, segment, end);
    const ack = (segment.flags & ACK) !== 0 ? segment.ack : receiver.end;
    const isBelow = receiver.maxWindow !== 0 && !isAfter(end, (sender.end - receiver.maxWindow - 1) >>> 0);
    const oldestAck = (receiver.end - Math.max(sender.maxWindow, leastAckWindow) - 1) >>> 0;
    if (!isAfter((sender.maxEnd + 1) >>> 0, segment.seq)) return "invalid";
    if (!isAfter((receiver.end + 1) >>> 0, ack)) return "invalid";
    if (isBelow || !isAfter(ack, oldestAck)) return this.kernel === "since 6.1" ? "ignored" : "invalid";
    learn(segment, { sender, receiver, end, ack });
    return "valid";
  }
}

function begin(sender: End, segment: Segment, end: number): void {
  sender.end = sender.maxEnd = end;
  sender.maxWindow = Math.max(1, segment.window);
  sender.scale = scaleOf(segment);
}

interface Seen {
  readonly sender: End;
  readonly receiver: End;
  readonly end: number;
  readonly ack: number;
}

function learn({ window, flags }: Segment, { sender, receiver, end, ack }: Seen): void {
  const scaled = (flags & SYN) === 0 ? window << sender.scale : window;
  sender.maxWindow = Math.max(sender.maxWindow, scaled);
  if (isAfter(end, sender.end)) sender.end = end;
  if (receiver.maxWindow !== 0 && isAfter(end, sender.maxEnd))
    receiver.maxWindow += fromStart(end, sender.maxEnd);
  if (isAfter((ack + scaled) >>> 0, (receiver.maxEnd - 1) >>> 0))
    receiver.maxEnd = (ack + Math.max(1, scaled)) >>> 0;
}
