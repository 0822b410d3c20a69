/** A socket that reads one or several queues of a namespace. Source: linux/netfilter/nfnetlink_queue.h. */
import { addon } from "./addon.ts";
import { checked } from "./error.ts";
import { readFileInNetns } from "./netns.ts";
import {
  encodeBind,
  encodeCopyPackets,
  encodeUnbind,
  parseQueueStatistics,
  queueConfigType,
  type QueueSettings,
  type QueueStatistics,
  type VerdictWriter,
} from "./queue.ts";
import type { ReceiveBatch } from "./receive-batch.ts";
import { MessageWriter } from "./cursor.ts";
import { NLM_F_REQUEST } from "./message.ts";
import { NETLINK_NETFILTER, NetlinkSocket, prepareForFlood } from "./socket.ts";

const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;

export interface QueueOptions {
  /** Descriptor of the namespace; the calling thread's own if absent. */
  readonly netns?: number | undefined;
  readonly queues: readonly number[];
  /** Bytes of each packet that are handed over; 65,531 if absent, which is the most. */
  readonly copyBytes?: number;
  /** Packets that wait for a verdict at most, in each queue; 1,024 if absent. */
  readonly maxLength?: number;
  /** Bits of `queueFlag`; none if absent. */
  readonly flags?: number;
  /** 4 MiB if absent. */
  readonly receiveBufferBytes?: number;
  /** Bytes of verdicts in one `send` at most; 1 MiB if absent. */
  readonly sendBufferBytes?: number;
  /** Of the opening; 2,000 if absent. */
  readonly timeoutMs?: number;
}

export class QueueSocket {
  readonly fd: number;
  readonly #socket: NetlinkSocket;

  /** Throws NetlinkError: EBUSY (EPERM on older kernels) if another socket has one of the queues. */
  static open(options: QueueOptions): QueueSocket {
    const socket = new NetlinkSocket(NETLINK_NETFILTER, options);
    try {
      prepare(socket, options);
      return new QueueSocket(socket);
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
    this.fd = socket.fd;
  }

  /** Takes datagrams that are there, without waiting; each holds one message for `decodeQueuePacket`. */
  receive(into: ReceiveBatch): number {
    return into.receive(this.fd);
  }

  /** Sends what was collected and empties it. A verdict that the kernel refuses comes back as an "error" message. */
  send(verdicts: VerdictWriter): void {
    if (verdicts.length === 0) return;
    const result = addon().send(this.fd, verdicts.buffer, 0, verdicts.length);
    verdicts.reset();
    checked("send verdicts", result);
  }

  /** Gives up one queue; packets that wait in it are dropped. Its acknowledgement comes as an "error" of 0 if it fails. */
  unbind(queue: number): void {
    sendConfig(this.#socket, (writer) => encodeUnbind(writer, queue));
  }

  /** Packets that wait in the queues are dropped. */
  close(): void {
    this.#socket.close();
  }
}

/** The counters of all queues in a namespace, whoever reads them. */
export function queueStatistics(netns: number): QueueStatistics[] {
  return parseQueueStatistics(readFileInNetns(netns, "/proc/thread-self/net/netfilter/nfnetlink_queue"));
}

/** Copying starts last and unacknowledged: no packet can be among the answers that the binding waits for. */
function prepare(socket: NetlinkSocket, options: QueueOptions): void {
  const settings: QueueSettings = {
    copyBytes: options.copyBytes ?? 0xfffb,
    maxLength: options.maxLength ?? 1024,
    flags: options.flags ?? 0,
  };
  prepareForFlood(socket.fd, options.receiveBufferBytes ?? 4 * 1024 * 1024);
  const sendBufferBytes = options.sendBufferBytes ?? 1024 * 1024;
  checked("set SO_SNDBUFFORCE", addon().setOption(socket.fd, SOL_SOCKET, SO_SNDBUFFORCE, sendBufferBytes));
  for (const queue of options.queues) {
    socket.request(`bind queue ${queue}`, queueConfigType, 0, (writer) =>
      encodeBind(writer, queue, settings),
    );
  }
  for (const queue of options.queues)
    sendConfig(socket, (writer) => encodeCopyPackets(writer, queue, settings));
}

function sendConfig(socket: NetlinkSocket, body: (writer: MessageWriter) => void): void {
  const writer = new MessageWriter(64);
  writer.begin(queueConfigType, NLM_F_REQUEST, 0);
  body(writer);
  writer.end();
  socket.send("configure queue", writer.written());
}
