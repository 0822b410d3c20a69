/** The stage of these tests: two pods on two nodes, a program with sockets in each, and its listeners. */
import type { Lab } from "../harness/lab.ts";
import { createPair, type Pair, type PairOptions } from "../integration/pair.ts";
import { accept, buildSockets, Sockets, type Connection } from "./sockets.ts";

export const families = ["address", "address6"] as const;
export type Family = (typeof families)[number];

/** A socket of the client's that has dialled. */
export interface Dialled {
  readonly name: string;
  readonly port: number;
}

export class Stage {
  readonly pair: Pair;
  readonly client: Sockets;
  readonly server: Sockets;
  readonly #lab: Lab;
  readonly #program: string;
  #count = 0;

  static async build(lab: Lab, options: PairOptions): Promise<Stage> {
    const program = await buildSockets(lab);
    return new Stage(lab, program, await createPair(lab, options));
  }

  private constructor(lab: Lab, program: string, pair: Pair) {
    this.#lab = lab;
    this.#program = program;
    this.pair = pair;
    this.client = this.sockets(pair.client.namespace);
    this.server = this.sockets(pair.server.namespace);
  }

  /** One more program with sockets. */
  sockets(namespace: string): Sockets {
    return new Sockets(this.#lab, namespace, this.#program);
  }

  /** The server listens on a port, by a socket called after it. `options`: see `programs/sockets.c`. */
  async listen(port: number, backlog = 16, options = ""): Promise<void> {
    await this.server.ok(`listen ${port} ${port} ${backlog} ${options}`);
  }

  /** The client dials; gives its socket's name and port. */
  async dial(host: string, port: number, options = ""): Promise<Dialled> {
    const name = `c${++this.#count}`;
    return { name, port: Number(await this.client.ok(`connect ${name} ${host} ${port} ${options}`)) };
  }

  /** The server accepts what the client dialled. */
  async accept(dialled: Dialled, port: number): Promise<Connection> {
    const { from } = await accept(this.server, String(port), dialled.name);
    return {
      client: { at: this.client, name: dialled.name },
      server: { at: this.server, name: dialled.name },
      port: dialled.port,
      from,
    };
  }

  /** The client dials a listener of the server's, which accepts. */
  async connect(host: string, port: number, options = ""): Promise<Connection> {
    return this.accept(await this.dial(host, port, options), port);
  }
}
