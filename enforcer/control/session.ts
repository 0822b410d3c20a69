/** Owns one connection to the control socket: its lines in, its answers out, in turn, within bounds of size and time. */
import type { Socket } from "node:net";
import { LineSplitter } from "./lines.ts";
import { encodeError, type ControlError } from "./messages.ts";
import type { Owner } from "./pu-table.ts";

export interface SessionLimits {
  /** From the connection, or the last answer, to the next whole request. */
  readonly requestTimeoutMs: number;
  /** Bytes written and not yet taken by the client, beyond which it is cut. */
  readonly unsentBytes: number;
}

/** Told of what ends a connection before a request was whole: too long, too slow. */
export type RefusalListener = (error: ControlError) => void;

/** Handles one line, and settles when everything that answers it has been written. Must not reject. */
export type LineHandler = (line: string, session: Session) => Promise<void>;

/** Who asked, as whoever answers sees them. */
export interface Client {
  /** Names this connection to the PU table. */
  readonly owner: Owner;
  /** Aborted when the connection is gone. */
  readonly closed: AbortSignal;
  /** True while an ADD on this connection waits for its `enforce`. */
  holdsPreparedPu: boolean;
  /** Writes one line. A client that doesn't read what it asked for is cut. */
  write(line: string): void;
  /** Resolves when the client has taken most of what was written, or is gone. */
  drained(): Promise<void>;
  /** From here on the connection only carries what we write, until the client hangs up; what it still says is ignored. */
  stream(): void;
  cut(): void;
}

export class Session implements Client {
  readonly owner: Owner = Symbol("session");
  readonly #socket: Socket;
  readonly #limits: SessionLimits;
  readonly #handle: LineHandler;
  readonly #onRefused: RefusalListener;
  readonly #splitter = new LineSplitter();
  readonly #waiting: string[] = [];
  readonly #closed = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #isBusy = false;
  #isStreaming = false;
  holdsPreparedPu = false;

  constructor(socket: Socket, limits: SessionLimits, handle: LineHandler, onRefused: RefusalListener) {
    this.#socket = socket;
    this.#limits = limits;
    this.#handle = handle;
    this.#onRefused = onRefused;
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("end", () => this.#end());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#close());
    this.#expectRequest();
  }

  /** Nothing is under way: whoever needs the place may cut it. */
  get isIdle(): boolean {
    return !this.#isBusy && !this.holdsPreparedPu;
  }

  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  write(line: string): void {
    if (this.#socket.destroyed) return;
    this.#socket.write(line);
    if (this.#socket.writableLength > this.#limits.unsentBytes) this.cut();
  }

  async drained(): Promise<void> {
    if (this.#socket.destroyed || !this.#socket.writableNeedDrain) return;
    await new Promise<void>((resolve) => {
      const settle = (): void => {
        this.#socket.removeListener("drain", settle);
        this.#socket.removeListener("close", settle);
        resolve();
      };
      this.#socket.once("drain", settle);
      this.#socket.once("close", settle);
    });
  }

  stream(): void {
    this.#isStreaming = true;
    this.#socket.resume();
  }

  /** Says why, and ends the connection. */
  refuse(error: ControlError): void {
    this.#onRefused(error);
    this.write(encodeError(error));
    this.#socket.end();
    this.#socket.destroySoon();
  }

  cut(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    if (this.#isStreaming) return;
    const split = this.#splitter.push(chunk);
    if (!split.ok) {
      this.refuse(split.error);
      return;
    }
    this.#waiting.push(...split.lines);
    void this.#work();
  }

  /** One line after the other. Nothing more is read meanwhile, so what waits here came in one piece. */
  async #work(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#socket.pause();
    for (let index = 0; index < this.#waiting.length && !this.#socket.destroyed; index++) {
      // Others get their turn, however many lines came at once.
      if (index > 0) await new Promise(setImmediate);
      clearTimeout(this.#timer);
      await this.#handle(this.#waiting[index] ?? "", this);
      this.#expectRequest();
    }
    this.#waiting.length = 0;
    this.#isBusy = false;
    this.#socket.resume();
  }

  #expectRequest(): void {
    clearTimeout(this.#timer);
    if (this.#socket.destroyed) return;
    this.#timer = setTimeout(() => {
      this.refuse({ code: 100, message: `no whole request within ${this.#limits.requestTimeoutMs} ms` });
    }, this.#limits.requestTimeoutMs);
  }

  /** The client has said all it will say, and everything was answered. */
  #end(): void {
    if (this.#isStreaming) this.cut();
    else this.#socket.end();
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#waiting.length = 0;
    this.#closed.abort();
  }
}
