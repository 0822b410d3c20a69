/** The stage of tests about whole sockets: two pods on two nodes, a program with sockets in each, and what their kernels say. */
import { expect } from "vitest";
import type { Lab } from "../harness/lab.ts";
import { createPair, type Pair, type PairOptions } from "../integration/pair.ts";
import { PodKernel, type Flow } from "./pod-kernel.ts";
import { accept, buildSockets, exchange, Sockets, type Connection } from "./sockets.ts";

export const families = ["address", "address6"] as const;
export type Family = (typeof families)[number];

/** A socket in the client's pod that has dialled. */
export interface Dialled {
  readonly sockets: Sockets;
  readonly name: string;
  readonly port: number;
  readonly to: Flow["server"];
}

/** A socket that the server's listener has accepted. */
export interface Accepted {
  readonly name: string;
  /** The server's port. */
  readonly at: number;
  readonly from: Flow["client"];
}

export class SocketStage {
  readonly lab: Lab;
  readonly pair: Pair;
  readonly client: Sockets;
  readonly server: Sockets;
  readonly clientKernel: PodKernel;
  readonly serverKernel: PodKernel;
  readonly #program: string;
  #count = 0;

  static async build(lab: Lab, options: PairOptions): Promise<SocketStage> {
    const program = await buildSockets(lab);
    return new SocketStage(lab, program, await createPair(lab, options));
  }

  private constructor(lab: Lab, program: string, pair: Pair) {
    this.lab = lab;
    this.#program = program;
    this.pair = pair;
    this.client = this.sockets(pair.client.namespace);
    this.server = this.sockets(pair.server.namespace);
    this.clientKernel = new PodKernel(lab, pair.client.namespace);
    this.serverKernel = new PodKernel(lab, pair.server.namespace);
  }

  /** One more program with sockets. */
  sockets(namespace: string): Sockets {
    return new Sockets(this.lab, namespace, this.#program);
  }

  /** The server listens on a port, by a socket called after it. `options`: see `programs/sockets.c`. */
  async listen(port: number, backlog = 16, options = ""): Promise<void> {
    await this.server.ok(`listen ${port} ${port} ${backlog} ${options}`);
  }

  /** The client dials; gives its socket. */
  dial(address: string, port: number, options = ""): Promise<Dialled> {
    return this.dialFrom(this.client, address, port, options);
  }

  /** Another program in the client's pod dials. */
  async dialFrom(sockets: Sockets, address: string, port: number, options = ""): Promise<Dialled> {
    const name = `c${++this.#count}`;
    const own = await sockets.ok(`connect ${name} ${address} ${port} ${options}`);
    return { sockets, name, port: Number(own), to: { address, port } };
  }

  /** The server accepts what the client dialled, at its own port `at`. */
  async accept(dialled: Dialled, at = dialled.to.port): Promise<Connection> {
    const { name } = dialled;
    return this.joined(dialled, { name, at, ...(await accept(this.server, String(at), name)) });
  }

  /** What was dialled and what was accepted are the ends of one connection. */
  joined(dialled: Dialled, accepted: Accepted): Connection {
    const { client, server } = this.pair;
    const { sockets, name, port, to } = dialled;
    const family = to.address.includes(":") ? "address6" : "address";
    return {
      client: {
        sockets,
        name,
        flow: { client: { address: client[family], port }, server: to },
      },
      server: {
        sockets: this.server,
        name: accepted.name,
        flow: { client: accepted.from, server: { address: server[family], port: accepted.at } },
      },
    };
  }

  /** The client dials a listener of the server's, which accepts. */
  async connect(address: string, port: number, options = ""): Promise<Connection> {
    return this.accept(await this.dial(address, port, options));
  }

  /** The connection is authorised at both ends: bytes go to and fro, both entries have the mark, and from then on nothing crosses a queue. */
  async expectAuthorised(connection: Connection): Promise<void> {
    const kernels = [this.clientKernel, this.serverKernel];
    const crossings = (): Map<number, number>[] => kernels.map((kernel) => kernel.crossings());
    await exchange(connection, 1_000);
    expect(this.clientKernel.isAuthorised(connection.client.flow)).toBe(true);
    expect(this.serverKernel.isAuthorised(connection.server.flow)).toBe(true);
    const before = crossings();
    await exchange(connection, 50_000);
    expect(crossings()).toEqual(before);
  }

  /** How many packets the server's enforcer has dropped for a reason. */
  async refusals(reason: string): Promise<number> {
    const { counters } = (await this.pair.serverEnforcer.json(["status"])) as {
      counters: Record<string, number>;
    };
    return counters[reason] ?? 0;
  }
}
