/** The stage of tests about single segments: two pods with applications, what their kernels say, and the weather between them. */
import { expect } from "vitest";
import { waitFor } from "../harness/command.ts";
import type { Lab } from "../harness/lab.ts";
import { createPair, type Pair, type PairOptions } from "../integration/pair.ts";
import { PodKernel, type Flow } from "./pod-kernel.ts";
import { Talker, type Talk } from "./talker.ts";
import { Weather, type Segment, type Which } from "./weather.ts";

export type Family = "address" | "address6";
export const SERVER_PORT = 8080;
const FIRST_CLIENT_PORT = 40_000;

export interface End {
  readonly talker: Talker;
  readonly kernel: PodKernel;
}

export class WeatherStage {
  readonly lab: Lab;
  readonly pair: Pair;
  readonly weather: Weather;
  readonly client: End;
  readonly server: End;
  #nextPort = FIRST_CLIENT_PORT;

  /** The server listens at SERVER_PORT, in both families. */
  static async build(lab: Lab, options: PairOptions): Promise<WeatherStage> {
    const pair = await createPair(lab, options);
    const weather = Weather.over(pair.cluster.router);
    lab.defer(() => weather.close());
    const [client, server] = await Promise.all(
      [pair.client, pair.server].map(async ({ namespace }) => ({
        talker: await Talker.start(lab, namespace),
        kernel: new PodKernel(lab, namespace),
      })),
    );
    if (client === undefined || server === undefined) throw new Error("two pods were asked for");
    await server.talker.listen(SERVER_PORT);
    return new WeatherStage(lab, pair, weather, client, server);
  }

  private constructor(lab: Lab, pair: Pair, weather: Weather, client: End, server: End) {
    this.lab = lab;
    this.pair = pair;
    this.weather = weather;
    this.client = client;
    this.server = server;
  }

  /** One more application in a pod. */
  talker(end: "client" | "server"): Promise<Talker> {
    return Talker.start(this.lab, this.pair[end].namespace);
  }

  /** A connection to come, from a port that no other has had unless one is given. */
  plan(family: Family = "address", options: Partial<Plan> = {}): Connection {
    const { clientPort = this.#nextPort++, serverPort = SERVER_PORT, nth = 1 } = options;
    const { from = this.client.talker, to = this.server.talker } = options;
    return new Connection(this, family, { clientPort, serverPort, nth, from, to });
  }

  /** How many packets an enforcer has dropped for a reason since it started. */
  async refusals(end: "client" | "server", reason: string): Promise<number> {
    const enforcer = end === "client" ? this.pair.clientEnforcer : this.pair.serverEnforcer;
    const { counters } = (await enforcer.json(["status"])) as { counters: Record<string, number> };
    return counters[reason] ?? 0;
  }

  /** Nothing crosses any of the pods' queues while `during` runs. */
  async expectNoCrossings(during: () => Promise<unknown>): Promise<void> {
    const crossings = (): Map<number, number>[] =>
      [this.client, this.server].map(({ kernel }) => kernel.crossings());
    const before = crossings();
    await during();
    expect(crossings()).toEqual(before);
  }

  /** A connection that both ends know for authorised. */
  async connected(family: Family = "address", options: Partial<Plan> = {}): Promise<Connection> {
    const connection = this.plan(family, options);
    await connection.open();
    await connection.exchange(1_000);
    await connection.expectAuthorised();
    return connection;
  }
}

interface Plan {
  readonly clientPort: number;
  readonly serverPort: number;
  /** Which of the connections from that port it is, for the server's process. */
  readonly nth: number;
  /** The processes at both ends; those of the stage unless others are given. */
  readonly from: Talker;
  readonly to: Talker;
}

/** One connection between the pods, by its client's port; of its talks neither need be there yet. */
export class Connection {
  readonly flow: Flow;
  readonly server: Talk;
  readonly #stage: WeatherStage;
  readonly #from: Talker;
  #client: Talk | undefined;
  /** Bytes that went to and fro so far, in each direction. */
  #exchanged = 0;

  constructor(stage: WeatherStage, family: Family, { clientPort, serverPort, nth, from, to }: Plan) {
    const { client, server } = stage.pair;
    this.#stage = stage;
    this.#from = from;
    this.flow = {
      client: { address: client[family], port: clientPort },
      server: { address: server[family], port: serverPort },
    };
    this.server = to.from(clientPort, nth);
  }

  get client(): Talk {
    if (this.#client === undefined) throw new Error("the connection was not begun");
    return this.#client;
  }

  /** The client's segments of a kind. */
  fromClient(which: Which = () => true): Which {
    const { client, server } = this.flow;
    return (segment) =>
      segment.source === client.address && isBetween(segment, client, server) && which(segment);
  }

  /** The server's segments of a kind. */
  fromServer(which: Which = () => true): Which {
    const { client, server } = this.flow;
    return (segment) =>
      segment.source === server.address && isBetween(segment, server, client) && which(segment);
  }

  /** What has crossed the router so far, by who sent it. */
  seen(which: Which): Segment[] {
    return this.#stage.weather.seen.filter(which);
  }

  /** The client calls connect(); nothing is waited for. */
  begin(): Talk {
    const { client, server } = this.flow;
    this.#client = this.#from.connect(server.address, server.port, client.port);
    return this.#client;
  }

  /** Connects, and waits for the client's end. */
  async open(): Promise<void> {
    await this.begin().connected();
  }

  /** Bytes go both ways and arrive as they were sent; whoever speaks second has heard the first (both at once if absent). */
  async exchange(bytes: number, first?: "client" | "server"): Promise<void> {
    if (first !== "server") this.client.send(bytes);
    await this.server.accepted();
    if (first === "client") await this.server.received(this.#exchanged + bytes);
    this.server.send(bytes);
    if (first === "server") await this.client.received(this.#exchanged + bytes);
    if (first === "server") this.client.send(bytes);
    await this.expectExchanged(bytes);
  }

  /** Waits until `bytes` more have come to both ends, and compares all bytes so far with what was sent. */
  async expectExchanged(bytes: number): Promise<void> {
    this.#exchanged += bytes;
    await Promise.all([this.server.received(this.#exchanged), this.client.received(this.#exchanged)]);
    await this.expectIntact();
  }

  async expectIntact(): Promise<void> {
    const [client, server] = await Promise.all([this.client.report(), this.server.report()]);
    expect(server.received).toEqual(client.sent);
    expect(client.received).toEqual(server.sent);
  }

  /** Waits until both kernels pass it by its mark alone. */
  async marked(): Promise<void> {
    const kernels = [this.#stage.client.kernel, this.#stage.server.kernel];
    await waitFor("marks at both ends", () => kernels.every((kernel) => kernel.isAuthorised(this.flow)));
  }

  /** Both kernels pass it by its mark, and bytes that go to and fro cross no queue: where nothing else goes on meanwhile. */
  async expectAuthorised(): Promise<void> {
    await this.marked();
    await this.#stage.expectNoCrossings(() => this.exchange(20_000));
  }

  /** Both ends close in good order. */
  async close(): Promise<void> {
    this.client.end();
    await this.server.ended();
    this.server.end();
    await Promise.all([this.client.closed(), this.server.closed()]);
    await this.expectIntact();
  }
}

function isBetween(segment: Segment, from: { port: number }, to: { port: number }): boolean {
  return segment.sourcePort === from.port && segment.destinationPort === to.port;
}
