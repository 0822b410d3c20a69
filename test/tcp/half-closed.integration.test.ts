/** Connections that are half closed and silent for longer than a minute, which is how long kernels keep their entries unless ADD says otherwise. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sleep, waitFor } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";
import { WeatherStage, type Connection, type Family } from "./weather-stage.ts";

const ends = ["client", "server"] as const;
type End = (typeof ends)[number];
const other = (end: End): End => (end === "client" ? "server" : "client");

/** The kernel's own time-out of CLOSE_WAIT, in seconds (nf_conntrack-sysctl.rst). */
const KERNELS_OWN_S = 60;
const SILENCE_MS = 62_000;

/** Time-outs of the pod that ADD promises, in seconds: at most, or at least. */
const promised = [
  { name: "time_wait", atMost: 10 },
  { name: "close_wait", atLeast: 3_600 },
  { name: "fin_wait", atLeast: 3_600 },
  { name: "unacknowledged", atLeast: 1_000 },
  { name: "max_retrans", atLeast: 1_000 },
] as const;

/** Who has closed; the other goes on to speak. */
const cases = (["address", "address6"] as const).flatMap((family) =>
  ends.map((closed) => ({ family, closed })),
);

describe("half-closed connections after a minute of silence", () => {
  const lab = new Lab();
  const connections: Connection[] = [];
  let unprepared: Connection;
  let stage: WeatherStage;

  const path = (name: string): string => `netfilter/nf_conntrack_tcp_timeout_${name}`;

  /** Both kernels know it for half closed. */
  async function closeHalf(family: Family, closed: End): Promise<Connection> {
    const connection = await stage.connected(family);
    connection[closed].end();
    await connection[other(closed)].ended();
    await waitFor("CLOSE_WAIT", () =>
      ends.every((end) => stage[end].kernel.entry(connection.flow)?.tcpState === "closeWait"),
    );
    return connection;
  }

  /** As `closeHalf`, with the kernel's own time-out in both pods: an entry keeps the one that it got with its last segment. */
  async function closeHalfUnprepared(): Promise<Connection> {
    const kernels = ends.map((end) => stage[end].kernel);
    const prepared = kernels.map((kernel) => Number(kernel.readSysctl(path("close_wait"))));
    for (const kernel of kernels) kernel.writeSysctl(path("close_wait"), KERNELS_OWN_S);
    const connection = await closeHalf("address", "client");
    for (const [index, kernel] of kernels.entries())
      kernel.writeSysctl(path("close_wait"), prepared[index] ?? 0);
    return connection;
  }

  /** Milliseconds between the connection's segment number `index` and the one before it, on the router. */
  function silenceBefore(index: number, { flow }: Connection): number {
    const seen = stage.weather.connection(flow.client.port);
    return (seen[index]?.seenMs ?? Number.NaN) - (seen[index - 1]?.seenMs ?? Number.NaN);
  }

  const seenOf = ({ flow }: Connection): number => stage.weather.connection(flow.client.port).length;

  /** One silence serves all. */
  beforeAll(async () => {
    stage = await WeatherStage.build(lab, { mode: "pki" });
    unprepared = await closeHalfUnprepared();
    for (const { family, closed } of cases) connections.push(await closeHalf(family, closed));
    await sleep(SILENCE_MS);
  }, 120_000);
  afterAll(() => lab.close());

  test.each(ends)("ADD has set the conntrack time-outs of the %s's pod", (end) => {
    for (const { name, ...limit } of promised) {
      const seconds = Number(stage[end].kernel.readSysctl(path(name)));
      if ("atMost" in limit) expect(seconds, name).toBeLessThanOrEqual(limit.atMost);
      else expect(seconds, name).toBeGreaterThanOrEqual(limit.atLeast);
    }
  });

  test.each(cases.map((one, index) => ({ ...one, index })))(
    "closed by the $closed: the other goes on to speak, and nothing crosses a queue, by $family",
    async ({ closed, index }) => {
      const connection = connections[index];
      if (connection === undefined) throw new Error("a connection for each case");
      const speaker = other(closed);
      const before = seenOf(connection);
      for (const end of ends) expect(stage[end].kernel.isAuthorised(connection.flow)).toBe(true);
      await stage.expectNoCrossings(async () => {
        const { received } = await connection[closed].report();
        connection[speaker].send(5_000);
        await connection[closed].received(received.bytes + 5_000);
        connection[speaker].end();
        await Promise.all(ends.map((end) => connection[end].closed()));
      });
      expect(silenceBefore(before, connection)).toBeGreaterThan(60_000);
      await connection.expectIntact();
    },
  );

  test("with the kernel's own time-out both entries are lost: who speaks is reset, and no byte arrives", async () => {
    for (const end of ends) expect(stage[end].kernel.entry(unprepared.flow)).toBeUndefined();
    const before = seenOf(unprepared);
    const { received } = await unprepared.client.report();
    const { kernel } = stage.server;
    const resets = kernel.counter("TcpEstabResets");
    unprepared.server.send(500);
    await waitFor("a reset", () => kernel.counter("TcpEstabResets") === resets + 1);
    // What has had the peer's FIN learns of a reset when it writes again.
    unprepared.server.send(500);
    expect(await unprepared.server.error()).toBe("EPIPE");
    expect(silenceBefore(before, unprepared)).toBeGreaterThan(60_000);
    expect((await unprepared.client.report()).received).toEqual(received);
  });
});
