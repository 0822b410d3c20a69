/** A client of the control socket that says what it is told to, and remembers what it hears. */
import { connect, type Socket } from "node:net";

export class LineClient {
  readonly socket: Socket;
  readonly lines: string[] = [];
  isClosed = false;
  #pending = "";
  #wake: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      const parts = (this.#pending + chunk.toString()).split("\n");
      this.#pending = parts.pop() ?? "";
      this.lines.push(...parts);
      this.#wake();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.isClosed = true;
      this.#wake();
    });
  }

  static open(path: string): Promise<LineClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.removeListener("error", reject);
        resolve(new LineClient(socket));
      });
    });
  }

  send(message: object | string): void {
    this.socket.write(
      typeof message === "string" ? message : `${JSON.stringify({ version: 1, ...message })}\n`,
    );
  }

  /** The next line as JSON; `closed` when the connection has ended. */
  async next(): Promise<unknown> {
    for (;;) {
      const line = this.lines.shift();
      if (line !== undefined) return JSON.parse(line) as unknown;
      if (this.isClosed) return "closed";
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async ask(message: object): Promise<unknown> {
    this.send(message);
    return this.next();
  }

  close(): void {
    this.socket.destroy();
  }
}
