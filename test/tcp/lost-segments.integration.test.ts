/** Segments that a router loses: each kind once, all of a first flight, and any by chance in both directions. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Lab } from "../harness/lab.ts";
import { segmentIs, type Segment, type Which } from "./weather.ts";
import { SERVER_PORT, WeatherStage, type Connection, type Family } from "./weather-stage.ts";

const BYTES = 4_000;

interface Case {
  readonly lost: string;
  readonly which: (connection: Connection) => Which;
  readonly times?: number;
  readonly first?: "client" | "server";
}

const isNoOpening: Which = (segment) => !segmentIs.syn(segment);

const cases: readonly Case[] = [
  { lost: "SYN", which: (c) => c.fromClient(segmentIs.syn) },
  {
    lost: "SYN-ACK",
    which: (c) => c.fromServer(segmentIs.synAck),
  },
  {
    lost: "ACK, before the server speaks",
    which: (c) => c.fromClient(segmentIs.bareAck),
    first: "server",
  },
  {
    lost: "first flight of the client, ACK and data",
    which: (c) => c.fromClient(isNoOpening),
    times: 4,
    first: "client",
  },
  {
    lost: "first data of the client",
    which: (c) => c.fromClient(segmentIs.data),
  },
  {
    lost: "first data of the server",
    which: (c) => c.fromServer(segmentIs.data),
  },
  {
    lost: "first flight of a server speaking first",
    which: (c) => c.fromServer(segmentIs.data),
    times: 3,
    first: "server",
  },
  {
    lost: "FIN of the client",
    which: (c) => c.fromClient(segmentIs.fin),
  },
  {
    lost: "FIN of the server",
    which: (c) => c.fromServer(segmentIs.fin),
  },
];

/** Whether `later` begins where `lost` began, or carries the byte that was there. */
function repeats(later: Segment, lost: Segment): boolean {
  return later.sequence === lost.sequence || (lost.sequence - later.sequence) >>> 0 < later.length;
}

describe.each(["psk", "pki"] as const)("a router that loses segments, mode %s", (mode) => {
  const lab = new Lab();
  let stage: WeatherStage;

  beforeAll(async () => {
    stage = await WeatherStage.build(lab, { mode });
  }, 60_000);
  afterAll(() => lab.close());

  /** What was lost so far and has to be sent again by a kernel: all but bare ACKs. */
  const losses: Segment[] = [];

  async function lose(family: Family, { which, times = 1, first }: Case): Promise<void> {
    const connection = stage.plan(family);
    const loss = stage.weather.drop(which(connection), { times });
    await connection.open();
    await connection.exchange(BYTES, first);
    await connection.marked();
    await connection.close();
    for (const lost of await loss.happened()) {
      const sameWay = connection.seen((segment) => segment.sourcePort === lost.sourcePort);
      const later = sameWay.slice(sameWay.indexOf(lost) + 1);
      expect(later.some((segment) => repeats(segment, lost))).toBe(true);
      if (!segmentIs.bareAck(lost)) losses.push(lost);
    }
  }

  const families: readonly Family[] = mode === "psk" ? ["address"] : ["address", "address6"];
  describe.each(families)("by %s", (family) => {
    test.concurrent.each(cases)("the $lost: it is sent again, and the connection is as any other", (one) =>
      lose(family, one),
    );
  });

  test("the kernels counted what they sent again", () => {
    const { client, server } = stage;
    const byServer = losses.filter(({ sourcePort }) => sourcePort === SERVER_PORT).length;
    expect(byServer).toBeGreaterThanOrEqual(5 * families.length);
    expect(server.kernel.counter("TcpRetransSegs")).toBeGreaterThanOrEqual(byServer);
    expect(client.kernel.counter("TcpRetransSegs")).toBeGreaterThanOrEqual(losses.length - byServer);
    for (const { kernel } of [client, server])
      expect(kernel.counter("TcpExtTCPSynRetrans")).toBeGreaterThanOrEqual(families.length);
  });

  test("one in twenty, both ways: every connection is authorised and every byte arrives", async () => {
    const { client, server, weather } = stage;
    const connections = Array.from({ length: 40 }, (_, index) =>
      stage.plan(index % 3 === 0 ? "address6" : "address"),
    );
    const toServer = weather.lose(0.05, 1, (segment) => segment.destinationPort === SERVER_PORT);
    const toClient = weather.lose(0.05, 2, (segment) => segment.sourcePort === SERVER_PORT);
    const sentAgain = (): number[] => [client, server].map(({ kernel }) => kernel.counter("TcpRetransSegs"));
    const before = sentAgain();
    await Promise.all(
      connections.map(async (connection) => {
        await connection.open();
        await connection.exchange(20_000);
      }),
    );
    weather.clear();
    for (const loss of [toServer, toClient]) expect(loss.segments.length).toBeGreaterThanOrEqual(10);
    const [byClient = 0, byServer = 0] = sentAgain().map((count, index) => count - (before[index] ?? 0));
    expect(byClient).toBeGreaterThan(0);
    expect(byServer).toBeGreaterThan(0);
    await Promise.all(connections.map((connection) => connection.marked()));
    await stage.expectNoCrossings(() =>
      Promise.all(connections.map((connection) => connection.exchange(20_000))),
    );
  });
});
