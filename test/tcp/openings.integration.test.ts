/** Ways in which a server's kernel opens connections otherwise than at the third segment: SYN cookies, a deferred accept, a full accept queue. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../harness/command.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { accept, close, type Connection } from "./sockets.ts";
import { families, SocketStage, type Dialled } from "./socket-stage.ts";
import { dropTable, putTable, tableCounters } from "./tables.ts";

const COOKIES = 8080;
const DEFERRED = 8081;
const FULL = { address: 8082, address6: 8083 } as const;

describe.each(["psk", "pki"] as const)("openings, mode %s", (mode) => {
  const lab = new Lab();
  let stage: SocketStage;

  /** A counter of the server's kernel. */
  const counter = (name: string): number => stage.serverKernel.counter(name);

  beforeAll(async () => {
    stage = await SocketStage.build(lab, { mode });
  }, 60_000);
  afterAll(() => lab.close());

  describe("SYN cookies", () => {
    const names = ["TcpExtSyncookiesSent", "TcpExtSyncookiesRecv", "TcpExtSyncookiesFailed"];
    const setCookies = (value: 1 | 2): void => {
      stage.serverKernel.writeSysctl("ipv4/tcp_syncookies", value);
    };

    beforeAll(async () => {
      await stage.listen(COOKIES);
      setCookies(2);
    });
    afterAll(() => {
      setCookies(1);
    });

    test.each(families)("each connection is made of its cookie, and authorised, by %s", async (family) => {
      const growth = await stage.serverKernel.growth(names, async () => {
        for (let round = 0; round < 3; round += 1) {
          const connection = await stage.connect(stage.pair.server[family], COOKIES);
          await stage.expectAuthorised(connection);
          await close(connection);
        }
      });
      expect(Object.values(growth)).toEqual([3, 3, 0]);
    });
  });

  describe("TCP_DEFER_ACCEPT", () => {
    /** ACKs without data, which make no socket. */
    const bareAcks = "TcpExtTCPDeferAcceptDrop";
    beforeAll(() => stage.listen(DEFERRED, 16, "defer=1"));

    test("the client's proof comes before there is a socket; its first data make one", async () => {
      const before = counter(bareAcks);
      const dialled = await stage.dial(stage.pair.server.address, DEFERRED);
      await waitFor("a bare ACK", () => counter(bareAcks) > before);
      await stage.client.ok(`send ${dialled.name} 1000`);
      const connection = await stage.accept(dialled);
      await stage.server.ok(`receive ${dialled.name} 1000`);
      await stage.expectAuthorised(connection);
      await close(connection);
    });

    test("a client that never speaks first is accepted when the SYN-ACK was repeated", async () => {
      let connection: Connection | undefined;
      const growth = await stage.serverKernel.growth([bareAcks, "TcpExtTCPSynRetrans"], async () => {
        connection = await stage.connect(stage.pair.server.address, DEFERRED);
      });
      expect(growth).toEqual({ [bareAcks]: 1, TcpExtTCPSynRetrans: 1 });
      if (connection === undefined) throw new Error("no connection");
      const { client, server } = connection;
      await server.sockets.ok(`send ${server.name} 1000`);
      await client.sockets.ok(`receive ${client.name} 1000`);
      await stage.expectAuthorised(connection);
      await close(connection);
    });
  });

  describe("a full accept queue", () => {
    const overflows = "TcpExtListenOverflows";
    const repeated = "TcpExtTCPSynRetrans";
    const hold = (port: number): string => `counter held {}
      chain hold {
        type filter hook forward priority 0
        tcp dport ${port} tcp flags & syn == 0 counter name held drop
      }`;

    async function isQueued(port: number, count: number): Promise<boolean> {
      const queue = await execOk(stage.pair.server.namespace, ["ss", "-tlnH", "sport", "=", `:${port}`]);
      return new RegExp(`^LISTEN\\s+${count}\\s`).test(queue);
    }

    /** Three connections: one waits to be accepted, two are half-open when the queue has no more room for them. */
    async function fill(host: string, port: number): Promise<Dialled[]> {
      const { router } = stage.pair.cluster;
      await stage.listen(port);
      const waiting = await stage.dial(host, port);
      await waitFor("the first connection", () => isQueued(port, 1));
      await putTable(router, "hold", hold(port));
      const halfOpen = [await stage.dial(host, port), await stage.dial(host, port)];
      await waitFor("their ACKs", async () => ((await tableCounters(router, "hold"))["held"] ?? 0) >= 2);
      await stage.server.ok(`backlog ${port} 0`);
      await dropTable(router, "hold");
      return [waiting, ...halfOpen];
    }

    async function acceptAll(dialled: readonly Dialled[], at: number): Promise<Connection[]> {
      const connections: Connection[] = [];
      while (connections.length < dialled.length) {
        const name = `s${at}-${connections.length}`;
        const { from } = await accept(stage.server, String(at), name);
        const [one] = dialled.filter(({ port }) => port === from.port);
        if (one === undefined) throw new Error(`nobody dialled from port ${from.port}`);
        connections.push(stage.joined(one, { name, at, from }));
      }
      return connections;
    }

    test.each(families)("keeps proven clients waiting, and accepts all in the end, by %s", async (family) => {
      const at = FULL[family];
      const dialled = await fill(stage.pair.server[family], at);
      const [, , speaker] = dialled;
      const before = { overflows: counter(overflows), repeated: counter(repeated) };
      // The other half-open one is silent: only a repeated SYN-ACK brings its proof again.
      await stage.client.ok(`send ${speaker?.name ?? ""} 2000`);
      await waitFor("overflows", () => counter(overflows) >= before.overflows + 2);
      const connections = await acceptAll(dialled, at);
      expect(new Set(connections.map(({ client }) => client.name)).size).toBe(dialled.length);
      expect(counter(repeated)).toBeGreaterThan(before.repeated);
      const speaking = connections.find(({ client }) => client.name === speaker?.name);
      await stage.server.ok(`receive ${speaking?.server.name ?? ""} 2000`);
      for (const connection of connections) {
        await stage.expectAuthorised(connection);
        await close(connection);
      }
    });
  });
});
