/** A netlink socket for requests that are answered at once, with a time-out. Source: netlink(7). */
import { addon } from "./addon.ts";
import { MessageWriter } from "./cursor.ts";
import { checked, NetlinkError } from "./error.ts";
import { EBADMSG, EINTR, ETIMEDOUT } from "./errno.ts";
import {
  type Acknowledgement,
  type Decoded,
  decodeAcknowledgement,
  decodeMessages,
  type Message,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  wasInterrupted,
} from "./message.ts";
import { ReceiveBatch } from "./receive-batch.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_NO_ENOBUFS = 5;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

/** More than the kernel puts into one datagram of an answer (32 KiB, or one whole object). */
const answerBytes = 128 * 1024;
const dumpAttempts = 5;

/** Shared by the thread's sockets, since what an answer holds is copied at once; hundreds of sockets would each keep one otherwise. */
let threadAnswers: ReceiveBatch | undefined;
/** The same for requests, of which each is sent before the next is written. */
let threadRequests: MessageWriter | undefined;

function answersOfThread(): ReceiveBatch {
  threadAnswers ??= new ReceiveBatch(1, answerBytes);
  return threadAnswers;
}

export interface SocketOptions {
  /** Descriptor of the namespace; the calling thread's own if absent. Not needed any more once the socket is open. */
  readonly netns?: number | undefined;
  /** How long a request may take; 2,000 if absent. */
  readonly timeoutMs?: number | undefined;
}

/** Opens an AF_NETLINK socket (close-on-exec) with extended and short acknowledgements. */
export function openNetlinkFd(protocol: number, netns: number | undefined): number {
  const native = addon();
  const fd = checked("open a netlink socket", native.openSocket(netns ?? -1, AF_NETLINK, SOCK_RAW, protocol));
  native.setOption(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
  native.setOption(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
  return fd;
}

/** For sockets that are flooded: a large buffer, and a full one loses messages without failing the next receive. */
export function prepareForFlood(fd: number, receiveBufferBytes: number): void {
  const native = addon();
  checked("set SO_RCVBUFFORCE", native.setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, receiveBufferBytes));
  checked("set NETLINK_NO_ENOBUFS", native.setOption(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1));
}

export class NetlinkSocket {
  readonly fd: number;
  readonly #timeoutMs: number;
  #sequence = 1;
  #sendBufferBytes = 64 * 1024;

  constructor(protocol: number, options: SocketOptions = {}) {
    this.#timeoutMs = options.timeoutMs ?? 2000;
    this.fd = openNetlinkFd(protocol, options.netns);
  }

  close(): void {
    addon().closeFd(this.fd);
  }

  /** A sequence number that no earlier request of this socket has. */
  nextSequence(): number {
    this.#sequence = (this.#sequence + 1) >>> 0;
    return this.#sequence;
  }

  /**
   * One message, acknowledged: returns what came before the acknowledgement. Throws NetlinkError if the kernel refuses,
   * doesn't answer in time or answers what can't be understood; `operation` is what its message begins with.
   */
  request(operation: string, type: number, flags: number, body: (writer: MessageWriter) => void): Message[] {
    return this.#exchange(operation, type, flags, body).slice(0, -1);
  }

  /** A dump, repeated while the objects change under it. */
  dump(operation: string, type: number, body: (writer: MessageWriter) => void): Message[] {
    for (let attempt = 0; attempt < dumpAttempts; attempt++) {
      const messages = this.#exchange(operation, type, NLM_F_DUMP, body);
      if (!messages.some(wasInterrupted)) return messages.slice(0, -1);
    }
    throw new NetlinkError(`${operation}: changed ${dumpAttempts} times while it was read`, EINTR);
  }

  /** Sends bytes that hold whole messages, however many. */
  send(operation: string, bytes: Uint8Array): void {
    this.#growSendBuffer(bytes.length);
    checked(operation, addon().send(this.fd, bytes, 0, bytes.length));
  }

  /** The next datagram's messages, of which the payloads are copies; none if `deadlineMs` (monotonic) is over. */
  receive(operation: string, deadlineMs: number): Message[] | undefined {
    const answers = answersOfThread();
    for (;;) {
      const count = answers.receive(this.fd);
      if (count > 0 && answers.length(0) > 0) return copyMessages(operation, answers);
      if (count > 0) continue;
      const leftMs = Math.ceil(deadlineMs - performance.now());
      if (leftMs <= 0) return undefined;
      checked(operation, addon().waitReadable(this.fd, leftMs));
    }
  }

  /** Everything that answers one message, its acknowledgement last. */
  #exchange(
    operation: string,
    type: number,
    flags: number,
    body: (writer: MessageWriter) => void,
  ): Message[] {
    const sequence = this.nextSequence();
    const writer = (threadRequests ??= new MessageWriter());
    writer.reset();
    writer.begin(type, flags | NLM_F_REQUEST | NLM_F_ACK, sequence);
    body(writer);
    writer.end();
    this.send(operation, writer.written());
    return this.#collect(operation, sequence);
  }

  #collect(operation: string, sequence: number): Message[] {
    const deadlineMs = performance.now() + this.#timeoutMs;
    const collected: Message[] = [];
    for (;;) {
      const messages = this.receive(operation, deadlineMs);
      if (messages === undefined) throw new NetlinkError(operation, ETIMEDOUT);
      for (const message of messages) {
        if (message.sequence !== sequence) continue;
        collected.push(message);
        if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) continue;
        requireSuccess(operation, understood(operation, decodeAcknowledgement(message)));
        return collected;
      }
    }
  }

  /** The kernel takes a message only if the whole of it fits the send buffer. */
  #growSendBuffer(bytes: number): void {
    if (bytes <= this.#sendBufferBytes) return;
    const result = addon().setOption(this.fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes * 2);
    this.#sendBufferBytes = checked("set SO_SNDBUFFORCE", result) + bytes;
  }
}

function copyMessages(operation: string, answers: ReceiveBatch): Message[] {
  if (answers.truncated(0)) throw new NetlinkError(`${operation}: answer over ${answerBytes} bytes`, EBADMSG);
  return understood(operation, decodeMessages(answers.bytes.slice(0, answers.length(0))));
}

/** The decoded value. Throws NetlinkError EBADMSG with the reason if there is none. */
export function understood<T>(operation: string, decoded: Decoded<T>): T {
  if (decoded.ok) return decoded.value;
  throw new NetlinkError(`${operation}: answer not understood: ${decoded.reason}`, EBADMSG);
}

export function requireSuccess(operation: string, { errno, extendedAck }: Acknowledgement): void {
  if (errno !== 0) throw new NetlinkError(operation, errno, extendedAck);
}
