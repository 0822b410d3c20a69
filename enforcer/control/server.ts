/** Owns the control socket's server: who may connect, how many at once, and that one client never disturbs another. */
import { createServer, type Server, type Socket } from "node:net";
import type { Log, LogFields } from "../log.ts";
import { encodeError, type ControlError } from "./messages.ts";
import { Session, type LineHandler, type RefusalListener, type SessionLimits } from "./session.ts";
import { listenAt, takePlace, type TryLock } from "./socket-file.ts";

export interface ControlServerOptions {
  readonly path: string;
  readonly handle: LineHandler;
  /** Called once for each connection that ended. */
  readonly onClosed: (session: Session) => void;
  /** User id at the other end of a connected Unix socket's descriptor. Throws `Error`. */
  readonly peerUid: (socketFd: number) => number;
  readonly tryLock: TryLock;
  /** The folder that the PUs of this enforcer are on disk in. */
  readonly registry: string;
  /** Called for each connection that is refused, or ended before a request was whole. */
  readonly onRefused?: RefusalListener;
  readonly log: Log;
  readonly limits?: Partial<ControlLimits>;
}

export interface ControlLimits extends SessionLimits {
  readonly connections: number;
}

const defaultLimits: ControlLimits = {
  connections: 512,
  requestTimeoutMs: 15_000,
  unsentBytes: 4 * 1024 * 1024,
};

/** How long `close` waits for answers that are being written. */
const CLOSE_GRACE_MS = 500;

/** How long a refused client has to read why. */
const REFUSED_LINGER_MS = 1000;

export class ControlServer {
  readonly #options: ControlServerOptions;
  readonly #limits: ControlLimits;
  readonly #server: Server;
  #leavePlace = (): void => undefined;
  /** In the order of their connections. */
  readonly #sessions = new Set<Session>();

  private constructor(options: ControlServerOptions) {
    this.#options = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** Listens. Rejects with `OperationError`. */
  static async listen(options: ControlServerOptions): Promise<ControlServer> {
    const server = new ControlServer(options);
    server.#leavePlace = takePlace(options.path, options.tryLock, options.registry);
    try {
      await listenAt(server.#server, options.path);
    } catch (error) {
      server.#leavePlace();
      throw error;
    }
    server.#server.on("error", (error) => options.log.error("control socket", { problem: error.message }));
    return server;
  }

  get connections(): number {
    return this.#sessions.size;
  }

  #accept(socket: Socket): void {
    const uid = this.#peerUid(socket);
    if (uid !== 0) {
      this.#refuse(
        socket,
        { code: 103, message: "only root may use the control socket" },
        { uid: uid ?? "unknown" },
      );
      return;
    }
    if (this.#sessions.size >= this.#limits.connections && !this.#makeRoom()) {
      this.#refuse(socket, { code: 11, message: `${this.#limits.connections} connections are in use` });
      return;
    }
    const session = new Session(socket, this.#limits, this.#options.handle, (error) => this.#note(error));
    this.#sessions.add(session);
    socket.once("close", () => {
      this.#sessions.delete(session);
      this.#options.onClosed(session);
    });
  }

  /** Cuts the connection that has been idle here the longest, so that a client that only holds places can't lock others out. */
  #makeRoom(): boolean {
    for (const session of this.#sessions) {
      if (!session.isIdle) continue;
      this.#sessions.delete(session);
      session.cut();
      this.#note({ code: 11, message: "cut: idle the longest, and its place was needed" });
      return true;
    }
    return false;
  }

  #refuse(socket: Socket, error: ControlError, fields: LogFields = {}): void {
    this.#note(error, fields);
    refuse(socket, error);
  }

  #note(error: ControlError, fields: LogFields = {}): void {
    const { code, message } = error;
    this.#options.log.warn("control connection refused", { code, problem: message, ...fields });
    this.#options.onRefused?.(error);
  }

  #peerUid(socket: Socket): number | undefined {
    try {
      return this.#options.peerUid(descriptorOf(socket));
    } catch (error) {
      this.#options.log.warn("control peer unknown", { problem: String(error) });
      return undefined;
    }
  }

  /** Stops listening, removes the socket file, and cuts every connection after a short grace. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    for (const session of this.#sessions) if (session.isIdle) session.cut();
    const timer = setTimeout(() => {
      for (const session of this.#sessions) session.cut();
    }, CLOSE_GRACE_MS);
    await closed;
    clearTimeout(timer);
    this.#leavePlace();
    this.#leavePlace = () => undefined;
  }
}

/** Says why, and ends the connection; what it sends is thrown away unread, so that the kernel delivers the answer. */
function refuse(socket: Socket, error: ControlError): void {
  const timer = setTimeout(() => socket.destroy(), REFUSED_LINGER_MS);
  socket.on("error", () => socket.destroy());
  socket.once("close", () => clearTimeout(timer));
  socket.resume();
  socket.end(encodeError(error));
}

/** Node has no public way to a socket's descriptor, but every libuv stream handle has `fd`. */
export function descriptorOf(socket: Socket): number {
  const fd = (socket as { _handle?: { fd?: number } })._handle?.fd;
  if (fd === undefined || fd < 0) throw new Error("the connection is already closed");
  return fd;
}
