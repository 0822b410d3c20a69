/** Two enforcers back to back in memory, with a TCP at each end and bad weather between them. */
import { describe, expect, test } from "vitest";
import type { EnforcedPod } from "./enforced-pod.ts";
import { Dialogue } from "./dialogue.ts";
import type { DialogueOptions } from "./dialogue.ts";
import { fairWeather, Network, randomNumbers, Simulation } from "./simulation.ts";
import type { Weather } from "./simulation.ts";
import type { Ends, Socket } from "./tcp-stack.ts";
import { TcpStack } from "./tcp-stack.ts";

const request = Buffer.from("GET / ".repeat(900));
const response = Buffer.from("200 OK ".repeat(600));

/** Two hosts, with or without enforcers. */
class Scene {
  readonly simulation = new Simulation();
  readonly dialogue: Dialogue;
  readonly network: Network;
  readonly web: TcpStack;
  readonly app: TcpStack;
  private readonly random: () => number;

  constructor(seed: number, weather: Weather, options: DialogueOptions & { isBare?: boolean } = {}) {
    this.random = randomNumbers(seed);
    this.dialogue = new Dialogue(options);
    this.network = new Network(this.simulation, this.random, weather);
    this.web = new TcpStack(this.simulation, this.random);
    this.app = new TcpStack(this.simulation, this.random);
    const { client, server } = this.dialogue;
    const toWeb = this.join(this.web, client, options.isBare === true, (packet) =>
      this.network.carry(packet, toApp),
    );
    const toApp = this.join(this.app, server, options.isBare === true, (packet) =>
      this.network.carry(packet, toWeb),
    );
  }

  private join(
    stack: TcpStack,
    pod: EnforcedPod,
    isBare: boolean,
    transmit: (packet: Buffer) => void,
  ): (packet: Buffer) => void {
    if (isBare) {
      stack.send = transmit;
      return (packet) => stack.receive(packet);
    }
    const clocked =
      (action: (packet: Buffer) => void): ((packet: Buffer) => void) =>
      (packet) => {
        pod.nowMs = this.simulation.nowMs;
        action(packet);
      };
    stack.send = clocked((packet) => pod.send(packet));
    pod.onSend = transmit;
    pod.onDeliver = (packet) => stack.receive(packet);
    this.every(250, () => {
      pod.nowMs = this.simulation.nowMs;
      pod.expire();
    });
    return clocked((packet) => pod.receive(packet));
  }

  every(intervalMs: number, action: () => void): void {
    this.simulation.after(intervalMs, () => {
      action();
      this.every(intervalMs, action);
    });
  }

  ends(fromPort: number, toPort = 80): Ends {
    return { ...this.dialogue.ends, fromPort, toPort };
  }

  /** A server that answers the whole request, or greets first. */
  serve(port: number, isGreeting: boolean): void {
    this.app.listen(port, (socket) => {
      if (isGreeting) socket.write(response);
      else
        socket.onReceive = () => {
          if (socket.received.length < request.length) return;
          socket.onReceive = undefined;
          socket.write(response);
        };
    });
  }

  /** So many connections, 10 ms apart; each sends its request at once. */
  dial(count: number): Socket[] {
    const sockets: Socket[] = [];
    for (let index = 0; index < count; index++)
      this.simulation.after(index * 10, () => {
        const socket = this.web.connect(this.ends(10_000 + index));
        socket.write(request);
        sockets.push(socket);
      });
    return sockets;
  }
}

function isComplete(socket: Socket): boolean {
  return socket.error === undefined && socket.received.equals(response);
}

function failures(sockets: readonly Socket[]): (string | number)[] {
  return sockets
    .filter((socket) => !isComplete(socket))
    .map(({ error, received }) => error ?? received.length);
}

const weathers: { name: string; weather: Weather }[] = [
  { name: "fair weather", weather: fairWeather },
  { name: "5 % loss", weather: { ...fairWeather, loss: 0.05 } },
  { name: "20 % loss", weather: { ...fairWeather, loss: 0.2 } },
  { name: "30 % reordering", weather: { ...fairWeather, reordering: 0.3 } },
  { name: "30 % duplication", weather: { ...fairWeather, duplication: 0.3 } },
  { name: "30 % replay", weather: { ...fairWeather, replay: 0.3 } },
  { name: "all of it", weather: { loss: 0.1, duplication: 0.1, reordering: 0.2, replay: 0.2 } },
];

describe.each(weathers)("in $name", ({ weather }) => {
  test.each([
    { mode: "psk", version: 4, isGreeting: false },
    { mode: "pki", version: 6, isGreeting: true },
  ] as const)("$mode, server first: $isGreeting: whoever connects without us connects with us", (options) => {
    const run = (isBare: boolean) => {
      const scene = new Scene(7, weather, { ...options, isBare });
      scene.serve(80, options.isGreeting);
      const sockets = scene.dial(100);
      scene.simulation.runUntil(300_000);
      return { scene, failed: failures(sockets), dialled: sockets.length };
    };
    const bare = run(true);
    const enforced = run(false);
    expect(enforced.dialled).toBe(100);
    expect(enforced.failed.length).toBeLessThanOrEqual(bare.failed.length);
    for (const [name, count] of Object.entries(enforced.scene.network.counts)) {
      const key = (
        { lost: "loss", duplicated: "duplication", reordered: "reordering", replayed: "replay" } as const
      )[name as keyof Network["counts"]];
      expect(count > 0, `${name}: ${count}`).toBe(weather[key] > 0);
    }
    const { client, server } = enforced.scene.dialogue;
    expect(client.records.every(({ verdict }) => verdict === "allow")).toBe(true);
    expect(new Set(server.records.map(({ source }) => source.port)).size).toBe(100);
    expect(server.crossings.some(({ reason }) => reason === "tag-invalid")).toBe(false);
  });

  test("who is refused gets nothing through", () => {
    const scene = new Scene(11, weather);
    scene.app.listen(81, (socket) => socket.write(response));
    scene.app.listen(82, (socket) => socket.write(response));
    const denied = [81, 82].map((toPort) => scene.web.connect(scene.ends(20_000, toPort)));
    for (const socket of denied) socket.write(request);
    scene.simulation.runUntil(200_000);
    expect(denied.map(({ error, received }) => [error, received.length])).toEqual([
      ["timeout", 0],
      ["refused", 0],
    ]);
    for (const socket of scene.app.sockets.values()) expect(socket.received).toHaveLength(0);
    expect(scene.dialogue.server.marked.size + scene.dialogue.client.marked.size).toBe(0);
  });
});

describe("while connections come and go", () => {
  const bad = { loss: 0.05, duplication: 0.05, reordering: 0.1, replay: 0.1 };

  test("tokens are renewed every 100 ms at both ends: none fails", () => {
    const scene = new Scene(3, bad, { mode: "pki" });
    scene.serve(80, false);
    const { client, server } = scene.dialogue;
    scene.every(100, () => {
      for (const pod of [client, server]) pod.unit.renew(pod.wallMs);
    });
    const sockets = scene.dial(100);
    scene.simulation.runUntil(120_000);
    expect(failures(sockets)).toEqual([]);
  });

  test("enforcers restart every 300 ms: authorised connections go on, and who is reset gets through later", () => {
    const scene = new Scene(5, fairWeather);
    scene.serve(80, false);
    const { client, server } = scene.dialogue;
    let restarts = 0;
    scene.every(300, () => {
      if (scene.simulation.nowMs < 5_000) (restarts++ % 2 === 0 ? client : server).restart();
    });
    const sockets = scene.dial(200);
    scene.simulation.runUntil(10_000);
    const lost = sockets.filter((socket) => !isComplete(socket));
    expect(lost.length).toBeLessThanOrEqual(restarts);
    const again = lost.map(({ ends }) => scene.web.connect(ends));
    for (const socket of again) socket.write(request);
    scene.simulation.runUntil(60_000);
    expect(failures(again)).toEqual([]);
  });

  test("the enforcers are dead for 3 s: nothing passes unauthorised, and TCP's own repetition connects afterwards", () => {
    const scene = new Scene(6, fairWeather);
    scene.serve(80, false);
    const { client, server } = scene.dialogue;
    for (const pod of [client, server]) pod.isEnforcing = false;
    const sockets = scene.dial(20);
    scene.simulation.runUntil(3_000);
    expect(scene.app.sockets.size).toBe(0);
    for (const pod of [client, server]) pod.isEnforcing = true;
    scene.simulation.runUntil(20_000);
    expect(failures(sockets)).toEqual([]);
  });

  test("a SYN flood with a replayed token fills the table, and the legitimate pair connects all the same", () => {
    const limits = { halfOpen: 64, halfOpenPerToken: 32 };
    const scene = new Scene(8, fairWeather, { limits });
    scene.serve(80, false);
    const { server } = scene.dialogue;
    const captured = scene.dialogue.wireSynFrom(1);
    let port = 1;
    const flood = () => {
      for (let count = 0; count < 20; count++)
        server.receive(scene.dialogue.redirect(captured, 20_000 + (port++ % 30_000)));
    };
    scene.every(20, () => {
      if (scene.simulation.nowMs < 4_000) flood();
    });
    const sockets = scene.dial(100);
    scene.simulation.runUntil(60_000);
    expect(server.engine.counts().evicted).toBeGreaterThan(1_000);
    expect(failures(sockets)).toEqual([]);
  });
});
