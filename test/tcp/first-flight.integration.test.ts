/** Who speaks first, and how much: the server, the client, the client with the very segment that proves it, and a first flight larger than the usual initial window. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../harness/command.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { close, type Connection } from "./sockets.ts";
import { families, SocketStage, type Family } from "./socket-stage.ts";
import { countingRules, dropTable, putTable, tableCounters } from "./tables.ts";

const PORT = 8080;
const toServer = `tcp dport ${PORT} tcp flags & syn == 0`;
const toClient = `tcp sport ${PORT} tcp flags & syn == 0`;
const hasData = "@ih,0,8 >= 0";
/** Segments that the router sees. The SYN is a connection's first packet in its direction. */
const sights = {
  from_client: `${toServer} ${hasData}`,
  from_server: `${toClient} ${hasData}`,
  third_with_data: `${toServer} ct original packets 2 tcp option @253,8,8 20 ${hasData}`,
  third: `${toServer} ct original packets 2 tcp option @253,8,8 20`,
};

describe.each(["psk", "pki"] as const)("the first bytes, mode %s", (mode) => {
  const lab = new Lab();
  let stage: SocketStage;
  let router: string;

  beforeAll(async () => {
    stage = await SocketStage.build(lab, { mode });
    ({ router } = stage.pair.cluster);
    await execOk(router, ["sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1"]);
    await stage.listen(PORT);
  }, 60_000);
  afterAll(() => lab.close());

  const watch = (): Promise<void> => putTable(router, "watch", countingRules("forward", 0, sights));
  const seen = (): Promise<Record<string, number>> => tableCounters(router, "watch");

  test.each(families)("come from the server, by %s", async (family) => {
    await watch();
    const connection = await stage.connect(stage.pair.server[family], PORT);
    await stage.server.ok(`send ${connection.server.name} 3000`);
    await stage.client.ok(`receive ${connection.client.name} 3000`);
    const { from_client, from_server } = await seen();
    expect(from_client).toBe(0);
    expect(from_server).toBeGreaterThan(0);
    await stage.expectAuthorised(connection);
    await close(connection);
  });

  test.each(families)("come from the client, by %s", async (family) => {
    await watch();
    const connection = await stage.connect(stage.pair.server[family], PORT);
    await stage.client.ok(`send ${connection.client.name} 3000`);
    await stage.server.ok(`receive ${connection.server.name} 3000`);
    const { from_client, from_server } = await seen();
    expect(from_client).toBeGreaterThan(0);
    expect(from_server).toBe(0);
    await stage.expectAuthorised(connection);
    await close(connection);
  });

  /** `lazy`: the client's kernel waits 200 ms for data before it sends a bare ACK. A machine may be slower than that once. */
  async function speakAtOnce(host: string, bytes: number): Promise<Connection> {
    for (let attempt = 0; attempt < 5; attempt += 1) {
      await watch();
      const dialled = await stage.dial(host, PORT, `lazy send=${bytes}`);
      const connection = await stage.accept(dialled);
      await stage.server.ok(`receive ${dialled.name} ${bytes}`);
      if ((await seen())["third_with_data"] === 1) return connection;
      await close(connection);
    }
    throw new Error("the first data never came with the third segment");
  }

  test.each(families.flatMap((family) => [100, 20_000].map((bytes) => [bytes, family] as const)))(
    "come with the segment that proves: %d bytes by %s",
    async (bytes, family) => {
      const connection = await speakAtOnce(stage.pair.server[family], bytes);
      expect((await seen())["third"]).toBe(1);
      await stage.expectAuthorised(connection);
      await close(connection);
    },
  );

  describe("more than the usual initial window", () => {
    const FLIGHT = 40;
    const BYTES = 200_000;
    /** The server's segments behind the SYN-ACK wait. */
    const hold = `chain hold { type filter hook forward priority -10; ${toClient} drop; }`;

    async function setInitialWindow(family: Family): Promise<void> {
      const version = family === "address" ? "-4" : "-6";
      const route = await execOk(stage.pair.client.namespace, ["ip", version, "route", "show", "default"]);
      const words = route.trim().split(/\s+/);
      const change = ["ip", version, "route", "change", ...words, "initcwnd", String(FLIGHT)];
      await execOk(stage.pair.client.namespace, change);
    }

    /** Segments that the client's kernel has in flight. */
    async function inFlight(port: number): Promise<number> {
      const info = await execOk(stage.pair.client.namespace, ["ss", "-tinH", "sport", "=", `:${port}`]);
      return Number(/ unacked:(\d+)/.exec(info)?.[1] ?? 0);
    }

    test.each(families)(
      "are all out before the server has said anything, and arrive, by %s",
      async (family) => {
        await setInitialWindow(family);
        await watch();
        await putTable(router, "hold", hold);
        const dialled = await stage.dial(stage.pair.server[family], PORT);
        const sent = stage.client.ok(`send ${dialled.name} ${BYTES}`);
        await waitFor("a full flight", async () => (await inFlight(dialled.port)) >= FLIGHT, 20_000);
        await waitFor("it on the router", async () => ((await seen())["from_client"] ?? 0) >= FLIGHT, 20_000);
        const connection = await stage.accept(dialled);
        await dropTable(router, "hold");
        await stage.server.ok(`receive ${dialled.name} ${BYTES}`);
        await sent;
        await stage.expectAuthorised(connection);
        await close(connection);
      },
    );
  });
});
