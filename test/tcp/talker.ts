/** The applications of these tests: processes in pods whose TCP sockets do what a test says, and what they report. */
import { join } from "node:path";
import { nodeBinary } from "../harness/binaries.ts";
import type { BackgroundProcess } from "../harness/command.ts";
import type { Lab } from "../harness/lab.ts";

const program = join(import.meta.dirname, "programs/talker.ts");
const LIMIT_MS = 30_000;

export interface Report {
  readonly sent: { readonly bytes: number; readonly sum: string };
  readonly received: { readonly bytes: number; readonly sum: string };
}

/** One socket of a talker. */
export class Talk {
  readonly name: string;
  readonly #process: BackgroundProcess;
  #asked = 0;

  constructor(process: BackgroundProcess, name: string) {
    this.#process = process;
    this.name = name;
  }

  /** Sends random bytes. */
  send(bytes: number): void {
    this.#say("send", bytes);
  }

  /** Ends its direction only (FIN). */
  end(): void {
    this.#say("end");
  }

  /** Closes by RST. */
  reset(): void {
    this.#say("reset");
  }

  /** Closes, also while it connects. */
  abandon(): void {
    this.#say("abandon");
  }

  /** Waits until it is connected; gives the local port. */
  async connected(): Promise<number> {
    return Number((await this.#happens("connected (\\d+)"))[1]);
  }

  accepted(): Promise<unknown> {
    return this.#happens("accepted");
  }

  /** Waits until that many bytes have come in all. */
  received(bytes: number): Promise<unknown> {
    return this.#happens(`received ${bytes}`);
  }

  /** Waits for the peer's FIN. */
  ended(): Promise<unknown> {
    return this.#happens("ended");
  }

  /** Waits for an error; gives its code, such as ECONNREFUSED. */
  async error(): Promise<string> {
    return (await this.#happens("error (\\w+)"))[1] ?? "";
  }

  /** Waits until the socket is gone. */
  closed(): Promise<unknown> {
    return this.#happens("closed");
  }

  /** Whether it has said so already: `connected`, `error`, `received`… */
  has(event: string): boolean {
    return this.#line(event).test(this.#process.stdout);
  }

  /** Bytes in both directions and their SHA-256 sums. */
  async report(): Promise<Report> {
    const id = ++this.#asked;
    this.#say("report", id);
    const line = `report ${id} (\\d+) (\\w+) (\\d+) (\\w+)`;
    const [, sent, sentSum = "", received, receivedSum = ""] = await this.#happens(line);
    return {
      sent: { bytes: Number(sent), sum: sentSum },
      received: { bytes: Number(received), sum: receivedSum },
    };
  }

  #say(command: string, ...words: readonly (string | number)[]): void {
    this.#process.child.stdin?.write(`${[command, this.name, ...words].join(" ")}\n`);
  }

  #happens(event: string): Promise<RegExpExecArray> {
    return this.#process.waitForOutput(this.#line(event), LIMIT_MS);
  }

  #line(event: string): RegExp {
    return new RegExp(`^${this.name.replace(".", "\\.")} ${event}$`, "m");
  }
}

export class Talker {
  readonly process: BackgroundProcess;
  #talks = 0;

  static async start(lab: Lab, namespace: string): Promise<Talker> {
    const process = lab.start(namespace, [nodeBinary, program]);
    await process.waitForOutput(/^ready$/m);
    return new Talker(process);
  }

  private constructor(process: BackgroundProcess) {
    this.process = process;
  }

  /** Listens in both families; `reset`: every connection is reset as soon as it is accepted. */
  async listen(port: number, manner: "quiet" | "reset" = "quiet"): Promise<void> {
    this.process.child.stdin?.write(`listen ${port} ${manner}\n`);
    await this.process.waitForOutput(new RegExp(`^${port} listening$`, "m"));
  }

  /** Begins to connect, from a port of its choice if one is given. */
  connect(host: string, port: number, fromPort?: number): Talk {
    const name = `c${++this.#talks}`;
    this.process.child.stdin?.write(`connect ${name} ${host} ${port} ${fromPort ?? ""}\n`);
    return new Talk(this.process, name);
  }

  /** The `nth` connection that came from a client's port; it need not be there yet. */
  from(clientPort: number, nth = 1): Talk {
    return new Talk(this.process, `${clientPort}.${nth}`);
  }
}
