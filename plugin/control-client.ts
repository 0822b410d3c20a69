/**
 * Owns the plugin's end of the control socket: whom it trusts, one request after the other, and an end to every wait.
 * Source: `enforcer/control/messages.ts`.
 */
import { lstatSync } from "node:fs";
import type { Stats } from "node:fs";
import { createConnection } from "node:net";
import type { Socket } from "node:net";
import { dirname } from "node:path";
import { LineSplitter, MAX_LINE_BYTES } from "../enforcer/control/lines.ts";
import { encodeRequest } from "../enforcer/control/messages.ts";
import type { Decoded, PluginRequest } from "../enforcer/control/messages.ts";
import { CniError } from "./cni-error.ts";
import { beforeDeadline } from "./deadline.ts";
import type { Deadline } from "./deadline.ts";

/** A connection to the enforcer. Who opens it closes it: the enforcer undoes an add whose connection ends before `enforce`. */
export interface ControlConnection {
  /** Sends one request and waits for its line. Throws a `CniError`: 11 late or cut, 114 no protocol, or the enforcer's own code. */
  request<T>(request: PluginRequest, decode: (line: string) => Decoded<T>): Promise<T>;
  close(): void;
}

export type ConnectControl = (path: string, deadline: Deadline) => Promise<ControlConnection>;

/** Connects if only root can have made the socket. Throws a `CniError` with code 11 or 112. */
export const connectControl: ConnectControl = async (path, deadline) => {
  checkTrust(path);
  const socket = createConnection({ path });
  try {
    await beforeDeadline(connected(socket, path), deadline, () => late("accept a connection"));
    return new SocketConnection(socket, deadline);
  } catch (error) {
    socket.destroy();
    throw error;
  }
};

/**
 * Socket and directory must be root's, and the directory closed to others: then only root can have put the socket there,
 * and no one can exchange it between this look and the connection.
 */
function checkTrust(path: string): void {
  const folder = dirname(path);
  const folderStats = statOf(folder, path);
  if (!folderStats.isDirectory() || folderStats.uid !== 0 || (folderStats.mode & 0o077) !== 0) {
    throw new CniError("untrustedSocket", `${folder} is not a directory of root's with mode 0700`);
  }
  const stats = statOf(path, path);
  if (!stats.isSocket() || stats.uid !== 0)
    throw new CniError("untrustedSocket", `${path} is not a socket of root's`);
}

function statOf(path: string, socketPath: string): Stats {
  try {
    return lstatSync(path);
  } catch (error) {
    throw unreachable(socketPath, error);
  }
}

function connected(socket: Socket, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", (error) => reject(unreachable(path, error)));
  });
}

function unreachable(path: string, error: unknown): CniError {
  const code = (error as NodeJS.ErrnoException).code ?? "error";
  return new CniError("tryLater", `the enforcer is unreachable at ${path} (${code})`);
}

/** What the enforcer didn't do in time, as an error. */
export function late(what: string): CniError {
  return new CniError("tryLater", `the enforcer did not ${what} in time`);
}

/** Whoever waits for an answer on a connection that has ended gets this. */
export function ended(): CniError {
  return new CniError("tryLater", "the enforcer closed the connection");
}

/** The request as its line, with its end. Throws a `CniError` with code 7 where it is longer than lines may be. */
export function lineOf(request: PluginRequest): string {
  const line = encodeRequest(request);
  if (Buffer.byteLength(line) <= MAX_LINE_BYTES) return line;
  throw new CniError("invalidConfig", `the request ${request.op} is longer than ${MAX_LINE_BYTES} bytes`);
}

class SocketConnection implements ControlConnection {
  readonly #socket: Socket;
  readonly #deadline: Deadline;
  readonly #splitter = new LineSplitter();
  readonly #lines: string[] = [];
  #failure: CniError | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: Socket, deadline: Deadline) {
    this.#socket = socket;
    this.#deadline = deadline;
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", () => this.#fail(new CniError("tryLater", "the connection to the enforcer broke")));
    socket.on("close", () => this.#fail(ended()));
  }

  async request<T>(request: PluginRequest, decode: (line: string) => Decoded<T>): Promise<T> {
    this.#socket.write(lineOf(request));
    const line = await beforeDeadline(this.#nextLine(), this.#deadline, () => late(`answer ${request.op}`));
    return granted(decode(line));
  }

  close(): void {
    this.#socket.destroy();
  }

  async #nextLine(): Promise<string> {
    for (;;) {
      const line = this.#lines.shift();
      if (line !== undefined) return line;
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #take(chunk: Buffer): void {
    const split = this.#splitter.push(chunk);
    if (!split.ok) {
      this.#fail(new CniError("protocol", `the enforcer's answer: ${split.error.message}`));
      this.#socket.destroy();
      return;
    }
    this.#lines.push(...split.lines);
    this.#wake?.();
  }

  #fail(failure: CniError): void {
    this.#failure ??= failure;
    this.#wake?.();
  }
}

/** The answer's value; a refusal as the error that the runtime gets. Codes below 100 that the enforcer can't mean are no protocol. */
export function granted<T>(decoded: Decoded<T>): T {
  if (decoded.ok) return decoded.value;
  const { code, message, details } = decoded.error;
  const known = code >= 100 || [7, 8, 11, 50, 51].includes(code);
  if (!known)
    throw new CniError("protocol", `the enforcer answered with the unknown code ${code}: ${message}`);
  throw new CniError({ code }, message, details);
}
