/** Applications that die and start again, at the same port, with the connection before known to the other end or not. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sleep } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";
import type { Talker } from "./talker.ts";
import { segmentIs } from "./weather.ts";
import { WeatherStage, type Connection } from "./weather-stage.ts";

const families = ["address", "address6"] as const;
/** Linux lets a client reuse a socket in TIME_WAIT once its timestamps have moved on, by default after 1 s (tcp_tw_reuse_delay). */
const TIME_WAIT_REUSE_MS = 1_100;
let nextPort = 8100;

describe("an application that starts again", () => {
  const lab = new Lab();
  let stage: WeatherStage;

  beforeAll(async () => {
    stage = await WeatherStage.build(lab, { mode: "pki" });
    stage.client.kernel.writeSysctl("ipv4/tcp_tw_reuse", 1);
  }, 60_000);
  afterAll(() => lab.close());

  async function serve(port: number): Promise<Talker> {
    const talker = await stage.talker("server");
    await talker.listen(port);
    return talker;
  }

  /** The same 4-tuple with new processes is a connection like any other, by a handshake of its own. */
  async function expectAnew(connection: Connection): Promise<void> {
    const isSyn = connection.fromClient((segment) => segmentIs.syn(segment) && segment.hasMarker);
    const before = connection.seen(isSyn).length;
    await connection.open();
    expect(connection.seen(isSyn).length).toBeGreaterThan(before);
    await connection.exchange(5_000);
    await connection.expectAuthorised();
  }

  /** Loses the resets of one end, all of them until fair weather. */
  const loseResets = (connection: Connection, end: "client" | "server"): (() => void) => {
    const which =
      end === "client" ? connection.fromClient(segmentIs.reset) : connection.fromServer(segmentIs.reset);
    stage.weather.drop(which, { times: Infinity });
    return () => stage.weather.clear();
  };

  test.each(families)(
    "the server dies: its client sees the end, then a closed port, then a server, by %s",
    async (family) => {
      const serverPort = nextPort++;
      const server = await serve(serverPort);
      const connection = await stage.connected(family, { serverPort, to: server });
      await server.process.kill();
      await connection.client.ended();
      connection.client.end();
      await connection.client.closed();
      expect(await stage.plan(family, { serverPort }).begin().error()).toBe("ECONNREFUSED");
      const again = await serve(serverPort);
      const { port: clientPort } = connection.flow.client;
      await expectAnew(stage.plan(family, { serverPort, clientPort, to: again }));
    },
  );

  test.each(families)(
    "the client dies, and comes again from its port in TIME_WAIT, by %s",
    async (family) => {
      const client = await stage.talker("client");
      const connection = await stage.connected(family, { from: client });
      await client.process.kill();
      await connection.server.ended();
      connection.server.end();
      await connection.server.closed();
      await sleep(TIME_WAIT_REUSE_MS);
      const { port: clientPort } = connection.flow.client;
      const growth = await stage.client.kernel.growth(["TcpExtTWRecycled"], async () =>
        expectAnew(stage.plan(family, { clientPort, nth: 2, from: await stage.talker("client") })),
      );
      expect(growth).toEqual({ TcpExtTWRecycled: 1 });
    },
  );

  test.each(families)("the client dies unnoticed, and comes again from its port, by %s", async (family) => {
    const client = await stage.talker("client");
    const connection = await stage.connected(family, { from: client });
    const letThrough = loseResets(connection, "client");
    connection.client.reset();
    await connection.client.closed();
    await client.process.kill();
    const { port: clientPort } = connection.flow.client;
    const again = stage.plan(family, { clientPort, nth: 2, from: await stage.talker("client") });
    // The server's kernel has the old connection, and answers for it; the client's kernel resets that (RFC 9293, 3.5.3).
    const growth = await stage.server.kernel.growth(["TcpExtTCPSYNChallenge", "TcpEstabResets"], () => {
      letThrough();
      return expectAnew(again);
    });
    expect(growth).toEqual({ TcpExtTCPSYNChallenge: 1, TcpEstabResets: 1 });
    expect(await connection.server.error()).toBe("ECONNRESET");
  });

  test.each(families)(
    "the server dies unnoticed, and starts again: its client is reset when it speaks, by %s",
    async (family) => {
      const serverPort = nextPort++;
      const server = await serve(serverPort);
      const connection = await stage.connected(family, { serverPort, to: server });
      const letThrough = loseResets(connection, "server");
      connection.server.reset();
      await connection.server.closed();
      await server.process.kill();
      const again = await serve(serverPort);
      const growth = await stage.client.kernel.growth(["TcpEstabResets"], async () => {
        letThrough();
        connection.client.send(100);
        expect(await connection.client.error()).toBe("ECONNRESET");
      });
      expect(growth).toEqual({ TcpEstabResets: 1 });
      const { port: clientPort } = connection.flow.client;
      await expectAnew(stage.plan(family, { serverPort, clientPort, to: again }));
    },
  );
});
