/** nfnetlink_queue messages: configuration, packets in, verdicts out. Source: linux/netfilter/nfnetlink_queue.h. */
import { AttributeCursor, MessageWriter } from "./cursor.ts";
import { NLM_F_REQUEST, NLMSG_ERROR } from "./message.ts";

const NFNL_SUBSYS_QUEUE = 3;
const NFQNL_MSG_PACKET = NFNL_SUBSYS_QUEUE << 8;
const NFQNL_MSG_VERDICT = (NFNL_SUBSYS_QUEUE << 8) | 1;
const NFQNL_MSG_CONFIG = (NFNL_SUBSYS_QUEUE << 8) | 2;
const NFQNL_MSG_VERDICT_BATCH = (NFNL_SUBSYS_QUEUE << 8) | 3;

const NFQA_PACKET_HDR = 1;
const NFQA_VERDICT_HDR = 2;
const NFQA_MARK = 3;
const NFQA_IFINDEX_INDEV = 5;
const NFQA_IFINDEX_OUTDEV = 6;
const NFQA_PAYLOAD = 10;
const NFQA_CAP_LEN = 13;
const NFQA_SKB_INFO = 14;

const NFQA_CFG_CMD = 1;
const NFQA_CFG_PARAMS = 2;
const NFQA_CFG_QUEUE_MAXLEN = 3;
const NFQA_CFG_MASK = 4;
const NFQA_CFG_FLAGS = 5;
const NFQNL_CFG_CMD_BIND = 1;
const NFQNL_CFG_CMD_UNBIND = 2;
const NFQNL_COPY_PACKET = 2;

const NF_DROP = 0;
const NF_ACCEPT = 1;
const NF_REPEAT = 4;
const NLMSG_HEADER = 16;
const NFGEN_HEADER = 4;
/** A verdict's message header, nfgenmsg, verdict header and mark. */
const verdictOverheadBytes = NLMSG_HEADER + NFGEN_HEADER + 12 + 8 + 4;

/** Flags of a queue (NFQA_CFG_F_*). */
export const queueFlag = { failOpen: 1, conntrack: 2, gso: 4, uidGid: 8, securityContext: 16 } as const;

const allFlags = 0x1f;

/** One queued packet, or the error that took its place. Mutable, made once and decoded into again and again. */
export interface QueuePacket {
  queue: number;
  /** Unique in its queue while the queue's socket lives. */
  id: number;
  /** Netfilter hook number: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting. */
  hook: number;
  /** Ethertype. */
  protocol: number;
  mark: number;
  /** Interface indexes; 0 if there is none. */
  inDevice: number;
  outDevice: number;
  /** Where the IP packet lies in the buffer that was decoded. */
  payloadOffset: number;
  payloadLength: number;
  /** The packet's own length: more than `payloadLength` if it was cut. */
  fullLength: number;
  /** NFQA_SKB_INFO: 1 checksums not ready, 2 GSO, 4 checksums not verified. */
  packetInfo: number;
  /** For an "error": its positive errno, 0 for an acknowledgement. */
  errno: number;
}

export function createQueuePacket(): QueuePacket {
  return {
    queue: 0,
    id: 0,
    hook: 0,
    protocol: 0,
    mark: 0,
    inDevice: 0,
    outDevice: 0,
    payloadOffset: 0,
    payloadLength: 0,
    fullLength: 0,
    packetInfo: 0,
    errno: 0,
  };
}

/** "error": a verdict or a configuration was refused; "other": nothing of ours. */
export type QueueMessageKind = "packet" | "error" | "other" | "malformed";

const cursor = new AttributeCursor();

/**
 * Decodes the one message of a queue's datagram, `length` bytes at `offset`, into `into`; allocates nothing. For
 * anything but "packet" (and `errno` for "error") the content of `into` means nothing.
 */
export function decodeQueuePacket(
  view: DataView,
  offset: number,
  length: number,
  into: QueuePacket,
): QueueMessageKind {
  if (length < NLMSG_HEADER + NFGEN_HEADER || offset + length > view.byteLength) return "malformed";
  const end = offset + view.getUint32(offset, true);
  if (end < offset + NLMSG_HEADER + NFGEN_HEADER || end > offset + length) return "malformed";
  const type = view.getUint16(offset + 4, true);
  if (type === NLMSG_ERROR) return decodeError(view, offset + NLMSG_HEADER, into);
  if (type !== NFQNL_MSG_PACKET) return "other";
  clear(into);
  into.queue = view.getUint16(offset + NLMSG_HEADER + 2, false);
  cursor.enter(view, offset + NLMSG_HEADER + NFGEN_HEADER, end);
  while (cursor.next()) if (!takeAttribute(view, into)) return "malformed";
  if (cursor.malformed || into.id < 0) return "malformed";
  if (into.fullLength === 0) into.fullLength = into.payloadLength;
  return "packet";
}

function decodeError(view: DataView, offset: number, into: QueuePacket): QueueMessageKind {
  const code = view.getInt32(offset, true);
  into.errno = -code;
  return code > 0 ? "malformed" : "error";
}

/** A packet without NFQA_PACKET_HDR keeps the id -1. */
function clear(into: QueuePacket): void {
  into.id = -1;
  into.hook = 0;
  into.protocol = 0;
  into.mark = 0;
  into.inDevice = 0;
  into.outDevice = 0;
  into.payloadOffset = 0;
  into.payloadLength = 0;
  into.fullLength = 0;
  into.packetInfo = 0;
  into.errno = 0;
}

function takeAttribute(view: DataView, into: QueuePacket): boolean {
  const { offset, length } = cursor;
  switch (cursor.type) {
    case NFQA_PACKET_HDR:
      if (length < 7) return false;
      into.id = view.getUint32(offset, false);
      into.protocol = view.getUint16(offset + 4, false);
      into.hook = view.getUint8(offset + 6);
      return true;
    case NFQA_PAYLOAD:
      into.payloadOffset = offset;
      into.payloadLength = length;
      return true;
    case NFQA_MARK:
    case NFQA_IFINDEX_INDEV:
    case NFQA_IFINDEX_OUTDEV:
    case NFQA_CAP_LEN:
    case NFQA_SKB_INFO:
      if (length !== 4) return false;
      takeNumber(cursor.type, view.getUint32(offset, false), into);
      return true;
    default:
      return true;
  }
}

function takeNumber(type: number, value: number, into: QueuePacket): void {
  if (type === NFQA_MARK) into.mark = value;
  else if (type === NFQA_IFINDEX_INDEV) into.inDevice = value;
  else if (type === NFQA_IFINDEX_OUTDEV) into.outDevice = value;
  else if (type === NFQA_CAP_LEN) into.fullLength = value;
  else into.packetInfo = value;
}

/** Collects verdicts in one preallocated buffer, to be sent with one call. */
export class VerdictWriter {
  readonly #writer: MessageWriter;
  #count = 0;

  constructor(capacityBytes = 256 * 1024) {
    this.#writer = new MessageWriter(capacityBytes, true);
  }

  /** Verdicts in the buffer. */
  get count(): number {
    return this.#count;
  }

  get length(): number {
    return this.#writer.length;
  }

  /** The buffer, of which `length` bytes are written. */
  get buffer(): Uint8Array {
    return this.#writer.buffer;
  }

  reset(): void {
    this.#writer.reset();
    this.#count = 0;
  }

  /** Whether one more verdict with that payload has room; if not, send first. */
  fits(payloadBytes: number): boolean {
    return this.#writer.length + verdictOverheadBytes + payloadBytes + 3 <= this.#writer.capacity;
  }

  /**
   * Lets one packet pass: with a new mark unless `undefined` (0 is a mark), and with a new content if `payload`, a whole
   * IP packet with its checksums, is given (copied here, at most 65,531 bytes).
   */
  accept(queue: number, id: number, mark: number | undefined, payload?: Uint8Array): void {
    this.#verdict(NFQNL_MSG_VERDICT, queue, id, NF_ACCEPT, mark, payload);
  }

  /** As `accept`, but the packet goes through the chain that queued it once more, from its first rule, instead of on to the next chain. */
  repeat(queue: number, id: number, mark: number, payload?: Uint8Array): void {
    this.#verdict(NFQNL_MSG_VERDICT, queue, id, NF_REPEAT, mark, payload);
  }

  drop(queue: number, id: number): void {
    this.#verdict(NFQNL_MSG_VERDICT, queue, id, NF_DROP, undefined, undefined);
  }

  /** Lets all packets of the queue pass whose ids are `id` or lower. */
  acceptUpTo(queue: number, id: number, mark: number | undefined): void {
    this.#verdict(NFQNL_MSG_VERDICT_BATCH, queue, id, NF_ACCEPT, mark, undefined);
  }

  dropUpTo(queue: number, id: number): void {
    this.#verdict(NFQNL_MSG_VERDICT_BATCH, queue, id, NF_DROP, undefined, undefined);
  }

  #verdict(
    type: number,
    queue: number,
    id: number,
    verdict: number,
    mark: number | undefined,
    payload: Uint8Array | undefined,
  ): void {
    const writer = this.#writer;
    writer.begin(type, NLM_F_REQUEST, 0);
    writer.nfgen(0, queue);
    writer.pair32be(NFQA_VERDICT_HDR, verdict, id);
    if (mark !== undefined) writer.u32be(NFQA_MARK, mark);
    if (payload !== undefined) writer.bytes(NFQA_PAYLOAD, payload);
    writer.end();
    this.#count++;
  }
}

export interface QueueSettings {
  /** Bytes of each packet that are handed over; at most 65,531. */
  readonly copyBytes: number;
  /** Packets that wait at most; beyond, they are dropped and counted. */
  readonly maxLength: number;
  /** Bits of `queueFlag`; all others are cleared. */
  readonly flags: number;
}

/** The type of all configuration messages. */
export const queueConfigType = NFQNL_MSG_CONFIG;

/** Takes the queue, with its limits. Nothing is handed over before `encodeCopyPackets`. */
export function encodeBind(writer: MessageWriter, queue: number, { maxLength, flags }: QueueSettings): void {
  writer.nfgen(0, queue);
  writer.bytes(NFQA_CFG_CMD, Uint8Array.of(NFQNL_CFG_CMD_BIND, 0, 0, 0));
  writer.u32be(NFQA_CFG_QUEUE_MAXLEN, maxLength);
  writer.u32be(NFQA_CFG_MASK, allFlags);
  writer.u32be(NFQA_CFG_FLAGS, flags);
}

/** From now on the queue's packets are handed over, `copyBytes` of each. */
export function encodeCopyPackets(writer: MessageWriter, queue: number, { copyBytes }: QueueSettings): void {
  writer.nfgen(0, queue);
  const params = new Uint8Array(5);
  new DataView(params.buffer).setUint32(0, copyBytes, false);
  params[4] = NFQNL_COPY_PACKET;
  writer.bytes(NFQA_CFG_PARAMS, params);
}

/** Gives the queue up; packets that wait in it are dropped. */
export function encodeUnbind(writer: MessageWriter, queue: number): void {
  writer.nfgen(0, queue);
  writer.bytes(NFQA_CFG_CMD, Uint8Array.of(NFQNL_CFG_CMD_UNBIND, 0, 0, 0));
}

/** One line of /proc/net/netfilter/nfnetlink_queue. */
export interface QueueStatistics {
  readonly queue: number;
  /** Netlink port of the reader. */
  readonly portId: number;
  /** Packets that wait for a verdict. */
  readonly waiting: number;
  /** Dropped because `maxLength` packets waited. */
  readonly dropped: number;
  /** Dropped because the reader's receive buffer was full. */
  readonly droppedByReader: number;
  readonly lastId: number;
}

/** Parses the text of /proc/net/netfilter/nfnetlink_queue; a line that isn't understood is left out. */
export function parseQueueStatistics(text: string): QueueStatistics[] {
  return text.split("\n").flatMap((line) => {
    const fields = line.trim().split(/\s+/).map(Number);
    const [queue, portId, waiting, , , dropped, droppedByReader, lastId] = fields;
    if (lastId === undefined || fields.some(Number.isNaN)) return [];
    return [{ queue, portId, waiting, dropped, droppedByReader, lastId } as QueueStatistics];
  });
}
