/** Resets: from either end, of connections that are open and half open, and from ports where nobody listens. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";
import { segmentIs } from "./weather.ts";
import { WeatherStage, type Connection } from "./weather-stage.ts";

const RESETTING_PORT = 8081;
const SHORT_LIVED_PORT = 8082;
const CLOSED_PORT = 8083;

const lab = new Lab();
let stage: WeatherStage;

beforeAll(async () => {
  stage = await WeatherStage.build(lab, { mode: "pki" });
  await stage.server.talker.listen(RESETTING_PORT, "reset");
}, 60_000);
afterAll(() => lab.close());

describe.each(["address", "address6"] as const)("resets, by %s", (family) => {
  const resetsOf = (connection: Connection): { byClient: number; byServer: number } => ({
    byClient: connection.seen(connection.fromClient(segmentIs.reset)).length,
    byServer: connection.seen(connection.fromServer(segmentIs.reset)).length,
  });

  /** `cause` makes the server's kernel end exactly one half-open connection. */
  async function expectEmbryonicReset(cause: () => void): Promise<void> {
    const { kernel } = stage.server;
    const before = kernel.counter("TcpExtEmbryonicRsts");
    cause();
    await waitFor("a reset of a half-open connection", () => kernel.counter("TcpExtEmbryonicRsts") > before);
    expect(kernel.counter("TcpExtEmbryonicRsts")).toBe(before + 1);
  }

  test("a closed port refuses before the SYN could be sent again", async () => {
    const connection = stage.plan(family, { serverPort: CLOSED_PORT });
    const resets = stage.server.kernel.counter("TcpOutRsts");
    const growth = await stage.client.kernel.growth(
      ["TcpActiveOpens", "TcpAttemptFails", "TcpExtTCPSynRetrans"],
      async () => expect(await connection.begin().error()).toBe("ECONNREFUSED"),
    );
    expect(growth).toEqual({ TcpActiveOpens: 1, TcpAttemptFails: 1, TcpExtTCPSynRetrans: 0 });
    expect(stage.server.kernel.counter("TcpOutRsts")).toBe(resets + 1);
    expect(resetsOf(connection)).toEqual({ byClient: 0, byServer: 1 });
  });

  test("a server that resets as soon as it accepts resets its client", async () => {
    const connection = stage.plan(family, { serverPort: RESETTING_PORT });
    const resets = stage.server.kernel.counter("TcpOutRsts");
    const growth = await stage.client.kernel.growth(["TcpEstabResets"], async () => {
      expect(await connection.begin().error()).toBe("ECONNRESET");
    });
    await connection.server.accepted();
    expect(growth).toEqual({ TcpEstabResets: 1 });
    expect(stage.server.kernel.counter("TcpOutRsts")).toBe(resets + 1);
    expect(resetsOf(connection)).toEqual({ byClient: 0, byServer: 1 });
  });

  test.each([
    { by: "client", of: "server" },
    { by: "server", of: "client" },
  ] as const)("the $by resets an open connection: the $of knows", async ({ by, of }) => {
    const connection = await stage.connected(family);
    const resets = stage[by].kernel.counter("TcpOutRsts");
    const growth = await stage[of].kernel.growth(["TcpEstabResets"], async () => {
      connection[by].reset();
      expect(await connection[of].error()).toBe("ECONNRESET");
    });
    expect(growth).toEqual({ TcpEstabResets: 1 });
    // One more for an acknowledgement that was on its way.
    expect(stage[by].kernel.counter("TcpOutRsts")).toBeGreaterThan(resets);
    const { byClient, byServer } = resetsOf(connection);
    expect([byClient > 0, byServer > 0]).toEqual([by === "client", by === "server"]);
  });

  test("a reset that is lost comes again when the other end speaks", async () => {
    const connection = await stage.connected(family);
    const lost = stage.weather.drop(connection.fromClient(segmentIs.reset));
    const growth = await stage.client.kernel.growth(["TcpOutRsts"], async () => {
      connection.client.reset();
      await lost.happened();
      connection.server.send(100);
      expect(await connection.server.error()).toBe("ECONNRESET");
    });
    expect(growth).toEqual({ TcpOutRsts: 2 });
    expect(resetsOf(connection)).toEqual({ byClient: 2, byServer: 0 });
  });

  test("a client that has gone answers the SYN-ACK with a reset, which ends the half-open connection", async () => {
    const connection = stage.plan(family);
    const late = stage.weather.hold(connection.fromServer(segmentIs.synAck));
    const client = connection.begin();
    await late.happened();
    client.abandon();
    await client.closed();
    const resets = stage.client.kernel.counter("TcpOutRsts");
    await expectEmbryonicReset(() => late.release());
    expect(stage.client.kernel.counter("TcpOutRsts")).toBe(resets + 1);
    expect(connection.server.has("accepted")).toBe(false);
  });

  test("a client whose ACK was lost resets the half-open connection", async () => {
    const connection = stage.plan(family);
    const lost = stage.weather.drop(connection.fromClient(segmentIs.bareAck));
    await connection.open();
    await expectEmbryonicReset(() => connection.client.reset());
    expect(lost.segments).toMatchObject([{ hasTag: true }]);
    expect(connection.server.has("accepted")).toBe(false);
  });

  test("a server that goes while the ACK is on its way resets the client", async () => {
    const server = await stage.talker("server");
    await server.listen(SHORT_LIVED_PORT);
    const connection = stage.plan(family, { serverPort: SHORT_LIVED_PORT });
    const late = stage.weather.hold(connection.fromClient(segmentIs.bareAck));
    await connection.open();
    await late.happened();
    await server.process.kill();
    const growth = await stage.server.kernel.growth(["TcpOutRsts"], async () => {
      late.release();
      expect(await connection.client.error()).toBe("ECONNRESET");
    });
    expect(growth["TcpOutRsts"]).toBeGreaterThanOrEqual(1);
    expect(resetsOf(connection).byServer).toBeGreaterThanOrEqual(1);
  });
});
