/** Owns the operator's end of the control socket: one connection, requests, and the lines that answer them. */
import { connect, type Socket } from "node:net";
import { OperationError } from "../operation-error.ts";
import { LineSplitter } from "./lines.ts";
import { decodeAnswer, type Decoded } from "./messages.ts";
import { decodeStreamLine, encodeOperatorRequest, type OperatorRequest } from "./operator-messages.ts";

/** How long an enforcer that accepts may take to answer. */
const ANSWER_TIMEOUT_MS = 10_000;

/** A connection to the enforcer at `path`. Failures are `OperationError`s: `unreachable`, `timeout`, or `request-invalid` for what it refuses. */
export class ControlClient {
  readonly #socket: Socket;
  readonly #lines: AsyncGenerator<string>;

  private constructor(socket: Socket, path: string) {
    this.#socket = socket;
    this.#lines = linesOf(socket, path);
  }

  static connect(path: string): Promise<ControlClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.once("connect", () => {
        socket.removeAllListeners("error");
        resolve(new ControlClient(socket, path));
      });
      socket.once("error", (error: NodeJS.ErrnoException) => {
        reject(unreachable(path, `(${error.code ?? error.message})`, error));
      });
    });
  }

  /** Asks, and gives the one answer. */
  async ask(request: OperatorRequest): Promise<Record<string, unknown>> {
    this.#send(request);
    return granted(decodeAnswer(await this.#next()));
  }

  /** Asks, and calls `onItem` for each item, until the end, which is returned. */
  async stream(request: OperatorRequest, onItem: (item: unknown) => void): Promise<unknown> {
    this.#send(request);
    for (;;) {
      const line = granted(decodeStreamLine(await this.#next()));
      if (line.kind === "end") return line.end;
      onItem(line.item);
    }
  }

  /** Calls `onItem` for each item that comes after the end of a stream that follows; rejects when the enforcer hangs up. */
  async follow(onItem: (item: unknown) => void): Promise<never> {
    this.#socket.setTimeout(0);
    for (;;) {
      const line = granted(decodeStreamLine(await this.#next()));
      if (line.kind === "item") onItem(line.item);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(request: OperatorRequest): void {
    this.#socket.write(encodeOperatorRequest(request));
  }

  async #next(): Promise<string> {
    const line = await this.#lines.next();
    if (line.done === true)
      throw new OperationError("unreachable", "ask the enforcer", "the enforcer hung up");
    return line.value;
  }
}

async function* linesOf(socket: Socket, path: string): AsyncGenerator<string> {
  const splitter = new LineSplitter();
  socket.setTimeout(ANSWER_TIMEOUT_MS, () => {
    const message = `the enforcer at ${path} gave no answer within ${ANSWER_TIMEOUT_MS / 1000} s`;
    socket.destroy(new OperationError("timeout", "ask the enforcer", message));
  });
  try {
    for await (const chunk of socket) {
      const split = splitter.push(chunk as Buffer);
      if (!split.ok) throw new OperationError("internal", "ask the enforcer", split.error.message);
      yield* split.lines;
    }
  } catch (error) {
    if (error instanceof OperationError) throw error;
    throw unreachable(path, "any more", error);
  }
}

function unreachable(path: string, how: string, cause: unknown): OperationError {
  return new OperationError(
    "unreachable",
    "ask the enforcer",
    `the enforcer is not reachable at ${path} ${how}`,
    cause,
  );
}

function granted<T>(decoded: Decoded<T>): T {
  if (decoded.ok) return decoded.value;
  const { code, message, details } = decoded.error;
  const text = details === undefined ? message : `${message}; ${details}`;
  throw new OperationError(code === 102 ? "not-found" : "request-invalid", "ask the enforcer", text);
}
