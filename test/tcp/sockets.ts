/** Sockets of two pods under the orders of a test: the program `programs/sockets.c`, compiled into the lab's folder, and one connection between two of them. */
import { join } from "node:path";
import { expect } from "vitest";
import { runOk, waitFor, type BackgroundProcess } from "../harness/command.ts";
import type { Lab } from "../harness/lab.ts";
import type { Flow } from "./pod-kernel.ts";

const source = join(import.meta.dirname, "programs/sockets.c");

/** Compiles the program into the lab's folder; gives its path. */
export async function buildSockets(lab: Lab): Promise<string> {
  const program = join(lab.folder, "sockets");
  await runOk(["cc", "-O1", "-Wall", "-Wextra", "-D_GNU_SOURCE", "-o", program, source]);
  return program;
}

/** One running program. Its commands are in `programs/sockets.c`; it obeys one after the other. */
export class Sockets {
  readonly #process: BackgroundProcess;
  #asked = 0;

  constructor(lab: Lab, namespace: string, program: string) {
    this.#process = lab.start(namespace, [program]);
  }

  /** Gives a command and waits for its answer: `ok …`, `error NAME`, or what else the command can say. */
  async ask(command: string): Promise<string> {
    const index = this.#asked++;
    this.#process.child.stdin?.write(`${command}\n`);
    return waitFor(`the answer to ${command}`, () => this.#answer(index), 60_000, 5);
  }

  #answer(index: number): string | undefined {
    const lines = this.#process.stdout.split("\n");
    if (lines.length - 1 <= index && this.#process.ended)
      throw new Error(`the sockets' program ended: ${this.#process.stderr}`);
    return lines.length - 1 > index ? lines[index] : undefined;
  }

  /** Gives a command that has to succeed; what follows `ok`. */
  async ok(command: string): Promise<string> {
    const answer = await this.ask(command);
    expect(answer, command).toMatch(/^ok/);
    return answer.slice(3);
  }

  stop(): Promise<number> {
    return this.#process.stop();
  }
}

/** One end of a connection: a socket of a program, and the connection as this end's kernel has it. */
export interface End {
  readonly sockets: Sockets;
  /** The socket's, in its program. */
  readonly name: string;
  readonly flow: Flow;
}

export interface Connection {
  readonly client: End;
  readonly server: End;
}

/** The listener's program accepts, and gives whom. */
export async function accept(
  server: Sockets,
  listener: string,
  name: string,
): Promise<{ from: Flow["client"] }> {
  const [address = "", port] = (await server.ok(`accept ${listener} ${name}`)).split(" ");
  return { from: { address: address.replace(/^::ffff:/, ""), port: Number(port) } };
}

type Speaker = Pick<End, "sockets" | "name">;

/** Bytes go one way and arrive as they were sent. */
async function carry(from: Speaker, to: Speaker, bytes: number): Promise<void> {
  await Promise.all([
    from.sockets.ok(`send ${from.name} ${bytes}`),
    to.sockets.ok(`receive ${to.name} ${bytes}`),
  ]);
}

/** Bytes go from the client to the server, then back; both arrive as they were sent. */
export async function exchange(
  { client, server }: Record<"client" | "server", Speaker>,
  bytes: number,
): Promise<void> {
  await carry(client, server, bytes);
  await carry(server, client, bytes);
}

/** Both ends close, the client first, and each sees the other's end behind its last byte. */
export async function close({ client, server }: Record<"client" | "server", Speaker>): Promise<void> {
  await client.sockets.ok(`shutdown ${client.name}`);
  await server.sockets.ok(`end ${server.name}`);
  await server.sockets.ok(`close ${server.name}`);
  await client.sockets.ok(`end ${client.name}`);
  await client.sockets.ok(`close ${client.name}`);
}
