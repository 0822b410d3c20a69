/** Segments that come more than once, and segments that overtake others: a connection's first ones, its data and its last ones. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";
import { segmentIs, type Segment, type Which } from "./weather.ts";
import { WeatherStage, type Connection } from "./weather-stage.ts";

const BYTES = 4_000;
const COPIES = 2;

/** Kernels count what they have had before under one of these, by how far the connection is when it comes. */
const SYN_AGAIN = [
  "TcpExtTCPSynRetrans",
  "TcpExtTCPACKSkippedSynRecv",
  "TcpExtPAWSEstab",
  "TcpExtTCPSYNChallenge",
];
const SYN_ACK_AGAIN = ["TcpExtTCPSYNChallenge"];
const DATA_AGAIN = ["TcpExtTCPDSACKOldSent"];
const DATA_EARLY = ["TcpExtTCPOFOQueue"];

interface Case {
  readonly what: string;
  /** The segments that are copied, or held. */
  readonly which: (connection: Connection) => Which;
  /** Behind which held ones go on. */
  readonly until?: (connection: Connection) => Which;
  /** Where they arrive, and counters of which at least one must grow there. */
  readonly at: "client" | "server";
  readonly counters: readonly string[];
  /** Of each piece of data; 4,000 if absent. */
  readonly bytes?: number;
}

const copied: readonly Case[] = [
  { what: "SYN", which: (c) => c.fromClient(segmentIs.syn), at: "server", counters: SYN_AGAIN },
  { what: "SYN-ACK", which: (c) => c.fromServer(segmentIs.synAck), at: "client", counters: SYN_ACK_AGAIN },
  { what: "ACK of the SYN-ACK", which: (c) => c.fromClient(segmentIs.bareAck), at: "server", counters: [] },
  {
    what: "client's first data, with the tag",
    which: (c) => c.fromClient(segmentIs.data),
    at: "server",
    counters: DATA_AGAIN,
    bytes: 100,
  },
  {
    what: "server's first data",
    which: (c) => c.fromServer(segmentIs.data),
    at: "client",
    counters: DATA_AGAIN,
  },
  { what: "client's FIN", which: (c) => c.fromClient(segmentIs.fin), at: "server", counters: DATA_AGAIN },
  { what: "server's FIN", which: (c) => c.fromServer(segmentIs.fin), at: "client", counters: [] },
];

const overtaken: readonly Case[] = [
  {
    what: "the ACK, by data with the tag",
    which: (c) => c.fromClient(segmentIs.bareAck),
    until: (c) => c.fromClient(segmentIs.data),
    at: "server",
    counters: [],
    bytes: 100,
  },
  {
    what: "the ACK, by a full segment without tag",
    which: (c) => c.fromClient(segmentIs.bareAck),
    until: (c) => c.fromClient(segmentIs.data),
    at: "server",
    counters: DATA_EARLY,
  },
  {
    what: "the client's first data, by its second",
    which: (c) => c.fromClient(segmentIs.data),
    until: (c) => c.fromClient(segmentIs.data),
    at: "server",
    counters: DATA_EARLY,
  },
  {
    what: "the server's first data, by its second",
    which: (c) => c.fromServer(segmentIs.data),
    until: (c) => c.fromServer(segmentIs.data),
    at: "client",
    counters: DATA_EARLY,
  },
  {
    what: "the SYN, by its repetition",
    which: (c) => c.fromClient(segmentIs.syn),
    until: (c) => c.fromClient(segmentIs.syn),
    at: "server",
    counters: SYN_AGAIN,
  },
  {
    what: "the SYN, by its repetition and by data",
    which: (c) => c.fromClient(segmentIs.syn),
    until: (c) => c.fromServer(segmentIs.data),
    at: "server",
    counters: SYN_AGAIN,
  },
  {
    what: "the SYN-ACK, by its repetition",
    which: (c) => c.fromServer(segmentIs.synAck),
    until: (c) => c.fromServer(segmentIs.synAck),
    at: "client",
    counters: SYN_ACK_AGAIN,
  },
];

describe.each([
  { mode: "psk", family: "address" },
  { mode: "pki", family: "address6" },
] as const)("segments out of order, mode $mode, by $family", ({ mode, family }) => {
  const lab = new Lab();
  let stage: WeatherStage;

  beforeAll(async () => {
    stage = await WeatherStage.build(lab, { mode });
  }, 60_000);
  afterAll(() => lab.close());

  /** A whole connection, in which both ends speak at once; every byte arrives, and both ends authorise it. */
  async function talk(connection: Connection, bytes = BYTES): Promise<void> {
    await connection.open();
    await connection.exchange(bytes);
    await connection.expectAuthorised();
    await connection.close();
  }

  /** By how much the counters of a case have grown in all. */
  async function noticed({ at, counters }: Case, during: () => Promise<unknown>): Promise<number> {
    const growth = await stage[at].kernel.growth(counters, during);
    return Object.values(growth).reduce((sum, count) => sum + count, 0);
  }

  test.each(copied)("the $what comes three times: the connection is as any other", async (one) => {
    const connection = stage.plan(family);
    const copies = stage.weather.duplicate(one.which(connection), { copies: COPIES });
    const sent = one.at === "server" ? connection.fromClient() : connection.fromServer();
    const times = await noticed(one, async () => {
      const before = stage[one.at].kernel.counter("TcpInSegs");
      await talk(connection, one.bytes);
      // Every segment came to the kernel's TCP, the copies too.
      const arrived = (): number => stage[one.at].kernel.counter("TcpInSegs") - before;
      await waitFor("all copies", () => arrived() >= connection.seen(sent).length + COPIES);
    });
    expect(copies.segments).toHaveLength(1);
    if (one.counters.length > 0) expect(times).toBeGreaterThanOrEqual(1);
  });

  test("every segment comes twice: the connection is as any other", async () => {
    const connection = stage.plan(family);
    const isOfIt = (segment: Segment): boolean =>
      connection.fromClient()(segment) || connection.fromServer()(segment);
    const copies = stage.weather.duplicate(isOfIt, { times: Infinity });
    const [again = 0] = Object.values(await stage.server.kernel.growth(DATA_AGAIN, () => talk(connection)));
    expect(again).toBeGreaterThanOrEqual(5);
    expect(copies.segments).toEqual(connection.seen(isOfIt));
  });

  test.each(overtaken)("$what is overtaken: the connection is as any other", async (one) => {
    const connection = stage.plan(family);
    const late = one.which(connection);
    const early = one.until?.(connection) ?? (() => false);
    const hold = stage.weather.hold(late, { until: early });
    const times = await noticed(one, () => talk(connection, one.bytes));
    expect(hold.segments).toHaveLength(1);
    expect(connection.seen(early).length).toBeGreaterThan(0);
    if (one.counters.length > 0) expect(times).toBeGreaterThanOrEqual(1);
  });

  test("a SYN-ACK that comes behind the server's data is refused, by the enforcer or by the kernel", async () => {
    const connection = stage.plan(family);
    const late = connection.fromServer(segmentIs.synAck);
    const hold = stage.weather.hold(late, { until: connection.fromServer(segmentIs.data) });
    const refusals = async (): Promise<number> =>
      stage.client.kernel.counter("TcpExtTCPSYNChallenge") +
      (await stage.refusals("client", "ack-unexpected"));
    const before = await refusals();
    await talk(connection);
    expect(hold.segments).toHaveLength(1);
    await waitFor("a refusal", async () => (await refusals()) > before);
  });

  test("data without the tag that overtakes the tag is dropped, and sent again", async () => {
    const connection = stage.plan(family);
    const untagged: Which = (segment) => segmentIs.data(segment) && !segment.hasTag;
    stage.weather.hold(connection.fromClient(segmentIs.bareAck), { until: connection.fromClient(untagged) });
    const before = await stage.refusals("server", "tag-missing");
    await talk(connection);
    await waitFor("a count", async () => (await stage.refusals("server", "tag-missing")) > before);
    const [first] = connection.seen(connection.fromClient(segmentIs.data));
    const again = connection.seen(connection.fromClient((segment) => segment.sequence === first?.sequence));
    expect(first?.hasTag).toBe(false);
    expect(again.filter(segmentIs.data).length).toBeGreaterThanOrEqual(2);
  });

  test("a FIN overtakes the data before it: the data comes, then the end", async () => {
    const connection = await stage.connected(family);
    const isData = connection.fromClient(segmentIs.data);
    const hold = stage.weather.hold(isData, { until: connection.fromClient(segmentIs.fin) });
    const growth = await stage.server.kernel.growth(DATA_EARLY, async () => {
      connection.client.send(100);
      connection.client.end();
      await connection.server.ended();
    });
    expect(hold.segments).toMatchObject([{ length: 100 }]);
    expect(growth).toEqual({ TcpExtTCPOFOQueue: 1 });
    connection.server.end();
    await connection.client.closed();
    await connection.expectIntact();
  });
});
