/** Ways in which a server's kernel opens connections otherwise than at the third segment: SYN cookies, a deferred accept, a full accept queue. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../harness/command.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { accept, close, type Connection } from "./sockets.ts";
import { families, SocketStage, type Accepted, type Dialled } from "./socket-stage.ts";
import { dropTable, putTable, tableCounters } from "./tables.ts";

const COOKIES = 8080;
const DEFERRED = 8081;
const FULL = 8082;

describe.each([
  { mode: "psk", slow: "address" },
  { mode: "pki", slow: "address6" },
] as const)("openings, mode $mode", ({ mode, slow }) => {
  const lab = new Lab();
  let stage: SocketStage;

  /** SYN-ACKs that were sent again. */
  const repeated = "TcpExtTCPSynRetrans";
  /** A counter of the server's kernel. */
  const counter = (name: string): number => stage.serverKernel.counter(name);

  beforeAll(async () => {
    stage = await SocketStage.build(lab, { mode });
  }, 60_000);
  afterAll(() => lab.close());

  describe("SYN cookies", () => {
    const [sent, received, failed] = [
      "TcpExtSyncookiesSent",
      "TcpExtSyncookiesRecv",
      "TcpExtSyncookiesFailed",
    ] as const;
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
      const growth = await stage.serverKernel.growth([sent, received, failed], async () => {
        for (let round = 0; round < 3; round += 1) {
          const connection = await stage.connect(stage.pair.server[family], COOKIES);
          await stage.expectAuthorised(connection);
          await close(connection);
        }
      });
      expect(growth).toMatchObject({ [received]: 3, [failed]: 0 });
      expect(growth[sent]).toBeGreaterThanOrEqual(3); // One more for a SYN that was sent again.
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
      const growth = await stage.serverKernel.growth([bareAcks, repeated], async () => {
        connection = await stage.connect(stage.pair.server.address, DEFERRED);
      });
      expect(growth[bareAcks]).toBeGreaterThan(0);
      expect(growth[repeated]).toBeGreaterThan(0);
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
    const hold = `counter held {}
      chain hold {
        type filter hook forward priority 0
        tcp dport ${FULL} tcp flags & syn == 0 counter name held drop
      }`;

    async function hasOneWaiting(): Promise<boolean> {
      const queue = await execOk(stage.pair.server.namespace, ["ss", "-tlnH", "sport", "=", `:${FULL}`]);
      return /^LISTEN\s+1\s/.test(queue);
    }

    /** Three connections: one waits to be accepted, two are half-open when the queue has no more room for them. */
    async function fill(host: string): Promise<Dialled[]> {
      const { router } = stage.pair.cluster;
      await stage.listen(FULL);
      const waiting = await stage.dial(host, FULL);
      await waitFor("the first connection", hasOneWaiting);
      await putTable(router, "hold", hold);
      const halfOpen = [await stage.dial(host, FULL), await stage.dial(host, FULL)];
      await waitFor("their ACKs", async () => ((await tableCounters(router, "hold"))["held"] ?? 0) >= 2);
      await stage.server.ok(`backlog ${FULL} 0`);
      await dropTable(router, "hold");
      return [waiting, ...halfOpen];
    }

    async function acceptAll(count: number): Promise<Accepted[]> {
      const accepted: Accepted[] = [];
      while (accepted.length < count) {
        const name = `s${accepted.length}`;
        accepted.push({ name, at: FULL, ...(await accept(stage.server, String(FULL), name)) });
      }
      return accepted;
    }

    /** Who was accepted for what was dialled, by its port. */
    function find(dialled: Dialled, accepted: readonly Accepted[]): Connection {
      const found = accepted.find(({ from }) => from.port === dialled.port);
      if (found === undefined) throw new Error(`nobody was accepted from port ${dialled.port}`);
      return stage.joined(dialled, found);
    }

    /** The client has proved itself; whether its ACK made a socket is another matter. */
    function isProven({ port, to }: Dialled): boolean {
      const from = { address: stage.pair.client[slow], port };
      return stage.serverKernel.isAuthorised({ client: from, server: to });
    }

    test.each([slow])("keeps proven clients waiting, and accepts all in the end, by %s", async (family) => {
      const host = stage.pair.server[family];
      const dialled = await fill(host);
      const [, silent, speaker] = dialled;
      const before = { overflows: counter(overflows), repeated: counter(repeated) };
      const sentAgain = stage.clientKernel.counter(repeated);
      // Its SYN finds no room and is dropped; the SYN after it is taken.
      const latecomer = stage.dialFrom(stage.sockets(stage.pair.client.namespace), host, FULL);
      // One half-open client speaks. The other is silent: only a repeated SYN-ACK brings its proof, and only one more its socket.
      await stage.client.ok(`send ${speaker?.name ?? ""} 2000`);
      await waitFor("overflows", () => counter(overflows) >= before.overflows + 3);
      await waitFor("both proofs", () => [silent, speaker].every((one) => one && isProven(one)));
      const accepted = await acceptAll(dialled.length + 1);
      expect(stage.clientKernel.counter(repeated)).toBeGreaterThan(sentAgain);
      expect(counter(repeated)).toBeGreaterThan(before.repeated);
      const connections = [...dialled, await latecomer].map((one) => find(one, accepted));
      await stage.server.ok(`receive ${connections[2]?.server.name ?? ""} 2000`);
      for (const connection of connections) {
        await stage.expectAuthorised(connection);
        await close(connection);
      }
    });
  });
});
