/** A 4-tuple used again while both kernels still know the connection before, with our mark on it: a new handshake is demanded, always. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sleep, waitFor } from "../harness/command.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { segmentIs } from "./weather.ts";
import { WeatherStage, type Connection } from "./weather-stage.ts";

type End = "client" | "server";
/** How long kernels know a connection that is over, in seconds; long enough for a slow machine. */
const KNOWN_S = 120;
/** Linux lets a client reuse a socket in TIME_WAIT once its timestamps have moved on, by default after 1 s (tcp_tw_reuse_delay). */
const TIME_WAIT_REUSE_MS = 1_100;
/** What Linux adds to the last sequence number when a SYN ends a TIME_WAIT (tcp_timewait_state_process). */
const TIME_WAIT_STEP = 65_537;

const families = ["address", "address6"] as const;

describe("a 4-tuple used again", () => {
  const lab = new Lab();
  let stage: WeatherStage;

  beforeAll(async () => {
    stage = await WeatherStage.build(lab, { mode: "pki" });
    for (const { kernel } of [stage.client, stage.server])
      for (const state of ["time_wait", "close"])
        kernel.writeSysctl(`netfilter/nf_conntrack_tcp_timeout_${state}`, KNOWN_S);
    stage.client.kernel.writeSysctl("ipv4/tcp_tw_reuse", 1);
  }, 60_000);
  afterAll(() => lab.close());

  /** Sockets of the connection in TIME_WAIT, at one end. */
  async function isInTimeWait({ flow }: Connection, end: End): Promise<boolean> {
    const { namespace } = stage.pair[end];
    const filter = ["state", "time-wait", `( sport = :${flow.client.port} or dport = :${flow.client.port} )`];
    return (await execOk(namespace, ["ss", "-tnH", ...filter])).trim() !== "";
  }

  /** Ends an open connection in good order: `first` closes first, and has the socket in TIME_WAIT. */
  async function closeFrom(first: End, connection: Connection): Promise<void> {
    const [one, other] =
      first === "client" ? [connection.client, connection.server] : [connection.server, connection.client];
    one.end();
    await other.ended();
    other.end();
    await Promise.all([one.closed(), other.closed()]);
    await waitFor("TIME_WAIT", () => isInTimeWait(connection, first));
  }

  async function resetFrom(first: End, connection: Connection): Promise<void> {
    const other = first === "client" ? connection.server : connection.client;
    connection[first].reset();
    await other.error();
  }

  const marks = ({ flow }: Connection): boolean[] =>
    [stage.client, stage.server].map(({ kernel }) => kernel.isAuthorised(flow));

  /**
   * The same 4-tuple once more, its predecessor's mark still at both ends. While the SYN is on its way the client's mark is gone, while the
   * SYN-ACK is the server's: nothing but this handshake gives them back.
   */
  async function expectHandshake(again: Connection): Promise<void> {
    const { client, server, weather } = stage;
    const queued = (): number[] => [
      client.kernel.crossings().get(3) ?? 0,
      server.kernel.crossings().get(0) ?? 0,
    ];
    const before = queued();
    const syn = weather.hold(again.fromClient(segmentIs.syn));
    const synAck = weather.hold(again.fromServer(segmentIs.synAck));
    expect(marks(again)).toEqual([true, true]);
    const opening = again.open();
    await syn.happened();
    expect(marks(again)[0]).toBe(false);
    syn.release();
    await synAck.happened();
    expect(marks(again)).toEqual([false, false]);
    synAck.release();
    await opening;
    expect(queued().map((count, index) => count > (before[index] ?? 0))).toEqual([true, true]);
    for (const [segment] of [syn.segments, synAck.segments])
      expect(segment).toMatchObject({ hasMarker: true });
    await again.exchange(1_000);
    await again.expectAuthorised();
  }

  const again = ({ flow }: Connection): Connection =>
    stage.plan(flow.client.address.includes(":") ? "address6" : "address", {
      clientPort: flow.client.port,
      nth: 2,
    });

  test.each(families)("the client's socket in TIME_WAIT, by %s", async (family) => {
    const connection = await stage.connected(family);
    await closeFrom("client", connection);
    await sleep(TIME_WAIT_REUSE_MS);
    const growth = await stage.client.kernel.growth(["TcpExtTWRecycled"], () =>
      expectHandshake(again(connection)),
    );
    expect(growth).toEqual({ TcpExtTWRecycled: 1 });
  });

  test.each(families)("the server's socket in TIME_WAIT, by %s", async (family) => {
    const connection = await stage.connected(family);
    await closeFrom("server", connection);
    const next = again(connection);
    const last = connection.seen(connection.fromServer(segmentIs.fin)).at(-1)?.sequence ?? 0;
    await expectHandshake(next);
    const answer = next.seen(next.fromServer(segmentIs.synAck)).at(-1);
    expect(answer?.sequence).toBe((last + 1 + TIME_WAIT_STEP) >>> 0);
  });

  test.each([
    { by: "client", family: "address" },
    { by: "client", family: "address6" },
    { by: "server", family: "address" },
    { by: "server", family: "address6" },
  ] as const)("conntrack entries in CLOSE, by a reset of the $by, by $family", async ({ by, family }) => {
    const connection = await stage.connected(family);
    await resetFrom(by, connection);
    const { kernel } = stage[by === "client" ? "server" : "client"];
    await waitFor("CLOSE", () => kernel.entry(connection.flow)?.tcpState === "close");
    await expectHandshake(again(connection));
  });

  test("with the server's enforcer dead, the mark in CLOSE lets nothing in", async () => {
    const connection = await stage.connected("address");
    await resetFrom("client", connection);
    await stage.pair.serverEnforcer.kill();
    const { kernel } = stage.server;
    const arrived = kernel.counter("TcpInSegs");
    const next = again(connection);
    const opening = next.open();
    await waitFor("two SYNs", () => next.seen(next.fromClient(segmentIs.syn)).length >= 3);
    expect(kernel.isAuthorised(next.flow)).toBe(true);
    expect(kernel.counter("TcpInSegs")).toBe(arrived);
    await stage.pair.serverEnforcer.start();
    await opening;
    await next.exchange(1_000);
    await next.expectAuthorised();
  });

  test("with the client's enforcer dead, the mark in CLOSE lets nothing out", async () => {
    const connection = await stage.connected("address6");
    await resetFrom("server", connection);
    await stage.pair.clientEnforcer.kill();
    const next = again(connection);
    const sent = next.seen(next.fromClient(segmentIs.syn)).length;
    const { kernel } = stage.client;
    const repeated = kernel.counter("TcpExtTCPSynRetrans");
    const opening = next.open();
    await waitFor("two SYNs", () => kernel.counter("TcpExtTCPSynRetrans") > repeated);
    expect(next.seen(next.fromClient(segmentIs.syn))).toHaveLength(sent);
    await stage.pair.clientEnforcer.start();
    await opening;
    await next.exchange(1_000);
    await next.expectAuthorised();
  });
});
