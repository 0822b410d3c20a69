/** Conntrack entries that are lost in the middle of a connection, and the mark with them: no segment passes unjudged. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../harness/command.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { segmentIs } from "./weather.ts";
import { WeatherStage, type Connection } from "./weather-stage.ts";

const ends = ["client", "server"] as const;
type End = (typeof ends)[number];
const other = (end: End): End => (end === "client" ? "server" : "client");

const families = ["address", "address6"] as const;

/** Whose kernel loses the entry, and who speaks then. */
const cases = families.flatMap((family) =>
  ends.flatMap((loser) => ends.map((speaker) => ({ loser, speaker, family }))),
);

describe("lost conntrack entries", () => {
  const lab = new Lab();
  let stage: WeatherStage;

  beforeAll(async () => {
    stage = await WeatherStage.build(lab, { mode: "pki" });
  }, 60_000);
  afterAll(() => lab.close());

  /** Segments that have crossed queues of an end. */
  const judged = (end: End): number =>
    [...stage[end].kernel.crossings().values()].reduce((sum, count) => sum + count, 0);

  const sentBy = (connection: Connection, end: End): number => {
    const isData =
      end === "client" ? connection.fromClient(segmentIs.data) : connection.fromServer(segmentIs.data);
    return connection.seen(isData).length;
  };

  test.each(cases)(
    "the $loser's, its enforcer remembers the connection, the $speaker speaks: judged, and marked again, by $family",
    async ({ loser, speaker, family }) => {
      const connection = await stage.connected(family);
      const before = judged(loser);
      expect(stage[loser].kernel.forget(connection.flow)).toBe(true);
      await connection.exchange(5_000, speaker);
      expect(judged(loser)).toBeGreaterThan(before);
      await connection.expectAuthorised();
    },
  );

  test.each(families)(
    "all entries of both pods, again and again, while 2 MB go both ways, by %s",
    async (family) => {
      const { client, server } = stage.pair;
      const connection = await stage.connected(family);
      const before = judged("client") + judged("server");
      const progress = { isOver: false, times: 0 };
      const transfer = connection.exchange(2_000_000).finally(() => (progress.isOver = true));
      while (!progress.isOver) {
        await Promise.all([client, server].map(({ namespace }) => execOk(namespace, ["conntrack", "-F"])));
        progress.times += 1;
      }
      await transfer;
      expect(progress.times).toBeGreaterThanOrEqual(2);
      expect(judged("client") + judged("server")).toBeGreaterThan(before);
      await connection.exchange(1_000);
      await connection.expectAuthorised();
    },
  );

  describe("once enforcers were restarted, and remember nothing", () => {
    const connections: Connection[] = [];
    let silent: Record<End, Connection>;

    beforeAll(async () => {
      for (const { family } of cases) connections.push(await stage.connected(family));
      silent = { client: await stage.connected("address"), server: await stage.connected("address6") };
      for (const enforcer of [stage.pair.clientEnforcer, stage.pair.serverEnforcer]) {
        await enforcer.kill();
        await enforcer.start();
      }
    }, 60_000);

    /** Both kernels drop the connection because of a reset, and no byte more arrives. */
    async function expectReset(connection: Connection, speaker: End, cause: () => unknown): Promise<void> {
      const listener = connection[other(speaker)];
      const { received } = await listener.report();
      const kernels = ends.map((end) => stage[end].kernel);
      const before = kernels.map((kernel) => kernel.counter("TcpEstabResets"));
      await cause();
      for (const end of ends) expect(await connection[end].error()).toBe("ECONNRESET");
      const resets = kernels.map((kernel, index) => kernel.counter("TcpEstabResets") - (before[index] ?? 0));
      expect(resets).toEqual([1, 1]);
      expect((await listener.report()).received).toEqual(received);
      for (const kernel of kernels) expect(kernel.entry(connection.flow)?.tcpState).not.toBe("established");
    }

    test.each(cases.map((one, index) => ({ ...one, index })))(
      "the $loser's, the $speaker speaks: both ends are reset, and no byte arrives, by $family",
      async ({ loser, speaker, index }) => {
        const connection = connections[index];
        if (connection === undefined) throw new Error("a connection for each case");
        const [before, sent] = [judged(loser), sentBy(connection, speaker)];
        await expectReset(connection, speaker, () => {
          expect(stage[loser].kernel.isAuthorised(connection.flow)).toBe(true);
          expect(stage[loser].kernel.forget(connection.flow)).toBe(true);
          connection[speaker].send(500);
        });
        expect(judged(loser)).toBeGreaterThan(before);
        // It got as far as the end that has lost its entry.
        expect(sentBy(connection, speaker) - sent).toBe(loser === speaker ? 0 : 1);
      },
    );

    test.each(ends)(
      "the %s's, while its enforcer is dead: silence, and a reset once it is back",
      async (loser) => {
        const connection = silent[loser];
        const speaker = "client";
        const enforcer = loser === "client" ? stage.pair.clientEnforcer : stage.pair.serverEnforcer;
        await expectReset(connection, speaker, async () => {
          await enforcer.kill();
          const arrived = stage.server.kernel.counter("TcpInSegs");
          const repeated = stage.client.kernel.counter("TcpRetransSegs");
          expect(stage[loser].kernel.forget(connection.flow)).toBe(true);
          connection.client.send(500);
          await waitFor("repetitions", () => stage.client.kernel.counter("TcpRetransSegs") >= repeated + 2);
          expect(stage.server.kernel.counter("TcpInSegs")).toBe(arrived);
          await enforcer.start();
        });
      },
    );
  });
});
