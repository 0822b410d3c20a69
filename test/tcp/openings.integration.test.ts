/** Ways in which a server's kernel opens connections otherwise than at the third segment: SYN cookies, a deferred accept, a full accept queue. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../harness/command.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { dropTable, expectAuthorised, kernelCounter, putTable, tableCounters } from "./kernel.ts";
import { accept, close, type Connection } from "./sockets.ts";
import { families, Stage, type Dialled } from "./stage.ts";

const COOKIES = 8080;
const DEFERRED = 8081;
const FULL = { address: 8082, address6: 8083 } as const;

describe.each(["psk", "pki"] as const)("openings, mode %s", (mode) => {
  const lab = new Lab();
  let stage: Stage;

  /** Counters of the server's kernel. */
  const counters = (...names: string[]): Promise<number[]> =>
    Promise.all(names.map((name) => kernelCounter(stage.pair.server.namespace, name)));

  beforeAll(async () => {
    stage = await Stage.build(lab, { mode });
  }, 60_000);
  afterAll(() => lab.close());

  describe("SYN cookies", () => {
    const names = ["TcpExtSyncookiesSent", "TcpExtSyncookiesRecv", "TcpExtSyncookiesFailed"];
    const setCookies = (value: 1 | 2): Promise<string> =>
      execOk(stage.pair.server.namespace, ["sysctl", "-qw", `net.ipv4.tcp_syncookies=${value}`]);

    beforeAll(async () => {
      await stage.listen(COOKIES);
      await setCookies(2);
    });
    afterAll(() => setCookies(1));

    test.each(families)("each connection is made of its cookie, and authorised, by %s", async (family) => {
      const [sent = 0, received = 0, failed = 0] = await counters(...names);
      for (let round = 0; round < 3; round += 1) {
        const connection = await stage.connect(stage.pair.server[family], COOKIES);
        await expectAuthorised(stage.pair, connection);
        await close(connection);
      }
      expect(await counters(...names)).toEqual([sent + 3, received + 3, failed]);
    });
  });

  describe("TCP_DEFER_ACCEPT", () => {
    /** ACKs without data that made no socket, and SYN-ACKs that were sent again. */
    const names = ["TcpExtTCPDeferAcceptDrop", "TcpExtTCPSynRetrans"];
    beforeAll(() => stage.listen(DEFERRED, 16, "defer=1"));

    test("the client's proof comes before there is a socket; its first data make one", async () => {
      const { client, pair, server } = stage;
      const [before = 0] = await counters(...names);
      const dialled = await stage.dial(pair.server.address, DEFERRED);
      await waitFor("a bare ACK", async () => ((await counters(...names))[0] ?? 0) > before);
      await client.ok(`send ${dialled.name} 1000`);
      const connection = await stage.accept(dialled, DEFERRED);
      await server.ok(`receive ${dialled.name} 1000`);
      await expectAuthorised(pair, connection);
      await close(connection);
    });

    test("a client that never speaks first is accepted when the SYN-ACK was repeated", async () => {
      const { client, pair, server } = stage;
      const before = await counters(...names);
      const connection = await stage.connect(pair.server.address, DEFERRED);
      expect(await counters(...names)).toEqual(before.map((count) => count + 1));
      await server.ok(`send ${connection.server.name} 1000`);
      await client.ok(`receive ${connection.client.name} 1000`);
      await expectAuthorised(pair, connection);
      await close(connection);
    });
  });

  describe("a full accept queue", () => {
    const names = ["TcpExtListenOverflows", "TcpExtTCPSynRetrans"];
    const port = FULL;
    const hold = (to: number): string => `counter held {}
      chain hold {
        type filter hook forward priority 0
        tcp dport ${to} tcp flags & syn == 0 counter name held drop
      }`;

    async function isQueued(to: number, count: number): Promise<boolean> {
      const queue = await execOk(stage.pair.server.namespace, ["ss", "-tlnH", "sport", "=", `:${to}`]);
      return new RegExp(`^LISTEN\\s+${count}\\s`).test(queue);
    }

    /** Three connections: one waits to be accepted, two are half-open when the queue has no more room for them. */
    async function fill(host: string, to: number): Promise<Dialled[]> {
      const { router } = stage.pair.cluster;
      await stage.listen(to);
      const waiting = await stage.dial(host, to);
      await waitFor("the first connection", () => isQueued(to, 1));
      await putTable(router, "hold", hold(to));
      const halfOpen = [await stage.dial(host, to), await stage.dial(host, to)];
      await waitFor("their ACKs", async () => ((await tableCounters(router, "hold"))["held"] ?? 0) >= 2);
      await stage.server.ok(`backlog ${to} 0`);
      await dropTable(router, "hold");
      return [waiting, ...halfOpen];
    }

    async function acceptAll(dialled: readonly Dialled[], to: number): Promise<Connection[]> {
      const connections: Connection[] = [];
      while (connections.length < dialled.length) {
        const name = `s${to}-${connections.length}`;
        const { from, port: peer } = await accept(stage.server, String(to), name);
        const client = { at: stage.client, name: dialled.find((one) => one.port === peer)?.name ?? "" };
        connections.push({ client, server: { at: stage.server, name }, port: peer, from });
      }
      return connections;
    }

    test.each(families)("keeps proven clients waiting, and accepts all in the end, by %s", async (family) => {
      const { client, pair, server } = stage;
      const dialled = await fill(pair.server[family], port[family]);
      const [, , speaker] = dialled;
      const [overflowed = 0, repeated = 0] = await counters(...names);
      // The other half-open one is silent: only a repeated SYN-ACK brings its proof again.
      await client.ok(`send ${speaker?.name ?? ""} 2000`);
      await waitFor("overflows", async () => ((await counters(...names))[0] ?? 0) >= overflowed + 2);
      const connections = await acceptAll(dialled, port[family]);
      expect(new Set(connections.map((one) => one.port))).toEqual(new Set(dialled.map((one) => one.port)));
      expect((await counters(...names))[1]).toBeGreaterThan(repeated);
      const speaking = connections.find((one) => one.port === speaker?.port);
      await server.ok(`receive ${speaking?.server.name ?? ""} 2000`);
      for (const connection of connections) {
        await expectAuthorised(pair, connection);
        await close(connection);
      }
    });
  });
});
