/** A minimal TCP: opens, retransmits with doubling time-outs, delivers bytes in order, obeys resets. Not a kernel: no close, no windows, no SACK. Source: RFC 9293. */
import { ACK, buildSegment, dataOptions, PSH, readSegment, RST, SYN, synOptions } from "./segments.ts";
import type { Segment } from "./segments.ts";
import type { Simulation } from "./simulation.ts";

export type SocketState = "syn-sent" | "syn-received" | "established" | "closed";
export type SocketError = "refused" | "reset" | "timeout";

const maximumData = 1448;
const inFlight = 10;
const openTimeoutMs = 1000;
const dataTimeoutMs = 200;
const openTries = 6;
const dataTries = 15;

const add = (sequence: number, count: number): number => (sequence + count) >>> 0;
const difference = (a: number, b: number): number => (a - b) | 0;

export interface Ends {
  readonly from: string;
  readonly fromPort: number;
  readonly to: string;
  readonly toPort: number;
}

export class Socket {
  state: SocketState;
  error: SocketError | undefined;
  received = Buffer.alloc(0);
  onReceive: ((socket: Socket) => void) | undefined;
  readonly ends: Ends;
  readonly isn: number;
  peerIsn = 0;
  private readonly stack: TcpStack;
  private outgoing = Buffer.alloc(0);
  /** Bytes of `outgoing` that the peer has acknowledged. */
  private acknowledged = 0;
  private timer = 0;

  constructor(stack: TcpStack, ends: Ends, isn: number, state: SocketState) {
    this.stack = stack;
    this.ends = ends;
    this.isn = isn;
    this.state = state;
  }

  write(data: Buffer): void {
    this.outgoing = Buffer.concat([this.outgoing, data]);
    if (this.state === "established") this.flush();
  }

  open(): void {
    this.sendOpening();
    this.retry(
      openTimeoutMs,
      openTries,
      () => this.state === "established",
      () => this.sendOpening(),
    );
  }

  receive(segment: Segment): void {
    if ((segment.flags & RST) !== 0) this.receiveReset(segment);
    else if (this.state === "syn-sent") this.receiveAnswer(segment);
    else if (this.state === "syn-received") this.receiveThird(segment);
    else this.receiveEstablished(segment);
  }

  private get next(): number {
    return add(this.peerIsn, 1 + this.received.length);
  }

  private sendOpening(): void {
    const isSyn = this.state === "syn-sent";
    const fields = isSyn ? { flags: SYN } : { flags: SYN | ACK, ack: add(this.peerIsn, 1) };
    this.stack.emit({ ...this.ends, seq: this.isn, options: synOptions, ...fields });
  }

  private receiveReset(segment: Segment): void {
    const isRefusal =
      this.state === "syn-sent" && (segment.flags & ACK) !== 0 && segment.ack === add(this.isn, 1);
    if (isRefusal) this.fail("refused");
    else if (this.state !== "syn-sent" && segment.seq === this.next) this.fail("reset");
  }

  private receiveAnswer(segment: Segment): void {
    const isAcceptable = (segment.flags & ACK) !== 0 && segment.ack === add(this.isn, 1);
    if (!isAcceptable && (segment.flags & ACK) !== 0)
      this.stack.emit({ ...this.ends, flags: RST, seq: segment.ack });
    if (!isAcceptable || (segment.flags & SYN) === 0) return;
    this.peerIsn = segment.seq;
    this.state = "established";
    this.acknowledge();
    this.flush();
  }

  private receiveThird(segment: Segment): void {
    if ((segment.flags & SYN) !== 0) {
      if (segment.seq === this.peerIsn) this.sendOpening();
      return;
    }
    if (segment.ack !== add(this.isn, 1)) {
      this.stack.emit({ ...this.ends, flags: RST, seq: segment.ack });
      return;
    }
    this.state = "established";
    this.receiveEstablished(segment);
  }

  private receiveEstablished(segment: Segment): void {
    if ((segment.flags & SYN) !== 0) {
      this.acknowledge();
      return;
    }
    const acknowledged = difference(segment.ack, add(this.isn, 1));
    if (acknowledged > this.acknowledged && acknowledged <= this.outgoing.length) {
      this.acknowledged = acknowledged;
      this.flush();
    }
    if (segment.data.length > 0) this.receiveData(segment);
  }

  private receiveData(segment: Segment): void {
    const before = difference(this.next, segment.seq);
    if (before >= 0 && before < segment.data.length)
      this.received = Buffer.concat([this.received, segment.data.subarray(before)]);
    this.acknowledge();
    this.onReceive?.(this);
  }

  private acknowledge(): void {
    this.emitData(this.outgoing.length, 0);
  }

  private emitData(from: number, length: number): void {
    this.stack.emit({
      ...this.ends,
      flags: length > 0 ? ACK | PSH : ACK,
      seq: add(this.isn, 1 + from),
      ack: this.next,
      options: dataOptions,
      data: this.outgoing.subarray(from, from + length),
    });
  }

  /** Sends what is not acknowledged, again and again until it is. */
  private flush(): void {
    if (this.acknowledged >= this.outgoing.length) return;
    this.sendWindow();
    const target = this.acknowledged + 1;
    const isDone = (): boolean => this.acknowledged >= target;
    this.retry(dataTimeoutMs, dataTries, isDone, () =>
      this.emitData(this.acknowledged, this.chunk(this.acknowledged)),
    );
  }

  private sendWindow(): void {
    const end = Math.min(this.outgoing.length, this.acknowledged + inFlight * maximumData);
    for (let from = this.acknowledged; from < end; from += maximumData) this.emitData(from, this.chunk(from));
  }

  private chunk(from: number): number {
    return Math.min(maximumData, this.outgoing.length - from);
  }

  /** One timer at a time: a newer one ends the older. */
  private retry(timeoutMs: number, tries: number, isDone: () => boolean, again: () => void): void {
    const timer = ++this.timer;
    const fire = (left: number, waitMs: number): void => {
      this.stack.simulation.after(waitMs, () => {
        if (timer !== this.timer || this.state === "closed" || isDone()) return;
        if (left === 0) {
          this.fail("timeout");
          return;
        }
        again();
        fire(left - 1, waitMs * 2);
      });
    };
    fire(tries, timeoutMs);
  }

  private fail(error: SocketError): void {
    this.error = error;
    this.state = "closed";
    this.stack.forget(this);
  }
}

export class TcpStack {
  readonly simulation: Simulation;
  readonly sockets = new Map<string, Socket>();
  send: (packet: Buffer) => void = () => undefined;
  private readonly random: () => number;
  private readonly listeners = new Map<number, (socket: Socket) => void>();

  constructor(simulation: Simulation, random: () => number) {
    this.simulation = simulation;
    this.random = random;
  }

  listen(port: number, onOpen: (socket: Socket) => void): void {
    this.listeners.set(port, onOpen);
  }

  connect(ends: Ends): Socket {
    const socket = new Socket(this, ends, this.newIsn(), "syn-sent");
    this.sockets.set(nameOf(ends), socket);
    socket.open();
    return socket;
  }

  emit(fields: Parameters<typeof buildSegment>[0]): void {
    this.send(buildSegment(fields));
  }

  forget(socket: Socket): void {
    if (this.sockets.get(nameOf(socket.ends)) === socket) this.sockets.delete(nameOf(socket.ends));
  }

  receive(packet: Buffer): void {
    const segment = readSegment(packet);
    const ends = { from: segment.to, fromPort: segment.toPort, to: segment.from, toPort: segment.fromPort };
    const socket = this.sockets.get(nameOf(ends));
    if (socket !== undefined) socket.receive(segment);
    else if ((segment.flags & (SYN | ACK | RST)) === SYN && this.listeners.has(ends.fromPort))
      this.accept(ends, segment);
    else if ((segment.flags & RST) === 0) this.refuse(ends, segment);
  }

  private accept(ends: Ends, segment: Segment): void {
    const socket = new Socket(this, ends, this.newIsn(), "syn-received");
    socket.peerIsn = segment.seq;
    this.sockets.set(nameOf(ends), socket);
    this.listeners.get(ends.fromPort)?.(socket);
    socket.open();
  }

  private refuse(ends: Ends, segment: Segment): void {
    if ((segment.flags & ACK) !== 0) this.emit({ ...ends, flags: RST, seq: segment.ack });
    else this.emit({ ...ends, flags: RST | ACK, seq: 0, ack: add(segment.seq, 1) });
  }

  private newIsn(): number {
    return Math.floor(this.random() * 4_294_967_296);
  }
}

function nameOf({ from, fromPort, to, toPort }: Ends): string {
  return `${from} ${fromPort} ${to} ${toPort}`;
}
