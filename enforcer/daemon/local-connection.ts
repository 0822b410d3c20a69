/** The connection of a plugin that this process performs to the enforcer that it is: the lines of a socket, without one. */
import type { Dispatcher } from "../control/dispatch.ts";
import type { Decoded, PluginRequest } from "../control/messages.ts";
import type { Owner } from "../control/pu-table.ts";
import type { Client } from "../control/session.ts";
import {
  ended,
  granted,
  late,
  lineOf,
  type ConnectControl,
  type ControlConnection,
} from "../../plugin/control-client.ts";
import { beforeDeadline, type Deadline } from "../../plugin/deadline.ts";

/** Connects to whoever answers, whatever the path. */
export function connectLocally(dispatcher: Dispatcher): ConnectControl {
  return (_path, deadline) => Promise.resolve(new LocalConnection(dispatcher, deadline));
}

class LocalConnection implements ControlConnection, Client {
  readonly owner: Owner = Symbol("handed call");
  holdsPreparedPu = false;
  readonly #dispatcher: Dispatcher;
  readonly #deadline: Deadline;
  readonly #closed = new AbortController();
  #answered: (line: string) => void = () => undefined;

  constructor(dispatcher: Dispatcher, deadline: Deadline) {
    this.#dispatcher = dispatcher;
    this.#deadline = deadline;
  }

  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  async request<T>(request: PluginRequest, decode: (line: string) => Decoded<T>): Promise<T> {
    const answer = this.#ask(lineOf(request).trimEnd());
    return granted(decode(await beforeDeadline(answer, this.#deadline, () => late(`answer ${request.op}`))));
  }

  close(): void {
    if (this.closed.aborted) return;
    this.#closed.abort();
    void this.#dispatcher.closed(this);
  }

  write(line: string): void {
    this.#answered(line);
  }

  /** The plugin asks for nothing that is answered by more than one line. */
  drained(): Promise<void> {
    return Promise.resolve();
  }

  stream(): void {
    this.close();
  }

  cut(): void {
    this.close();
  }

  #ask(line: string): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.closed.aborted) {
        reject(ended());
        return;
      }
      this.closed.addEventListener("abort", () => reject(ended()), { once: true });
      this.#answered = resolve;
      void this.#dispatcher.handle(line, this);
    });
  }
}
