/**
 * Bad input of every kind against one enforcer, which is the shipped binary: each has its reason, its counter and a line in the log that
 * no flood makes many of; afterwards the same process serves as before. What each case becomes is in `packets.ts` and `messages.ts`.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAddress } from "../../netlink/prefix.ts";
import { reasonTexts } from "../../enforcer/reason.ts";
import { LineClient } from "../control/line-client.ts";
import { waitFor } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";
import { startEchoServer } from "../harness/traffic.ts";
import { tcpPacket } from "../packet/build.ts";
import {
  brokenPolicy,
  crowd,
  expectAuthorised,
  flood,
  mendPolicy,
  policy,
  PORT,
  refusePolicy,
} from "./actions.ts";
import { Forger, type BadMessage } from "./messages.ts";
import { testControlSocket, testFiles, testFullDisk, testNamespaces } from "./operators.ts";
import { inbound, outbound, superPackets, type BadPacket, type Family } from "./packets.ts";
import { growth, nobody, Stage, type Counts, type Footprint } from "./stage.ts";

/** Handshakes end soon, so that what was half-open is over before the end; a busy machine gets the time to verify what is held. */
const config = { limits: { handshakeMs: 3_000, serverHandshakesPerToken: 16, heldMs: 5_000 } };
/** Pages of the state folder: two records of two PUs, and what the test fills up. */
const STATE_BYTES = 32_768;
/** Resident memory above that after the warm-up: after all that crosses queues, and at the end. Why, in README.md. */
const MARGIN_MB = { packets: 40, end: 128 };
/** The CNI verb STATUS must be answered within this. */
const STATUS_DEADLINE_MS = 900;

const hexOf = (address: string): string => Buffer.from(parseAddress(address) ?? []).toString("hex");

describe("bad input", () => {
  const lab = new Lab();
  let stage: Stage;
  let forger: Forger;
  let began: Footprint;
  let halves: LineClient[];
  let serial = 0;

  beforeAll(async () => {
    stage = await Stage.create(lab, { policy, config, stateBytes: STATE_BYTES });
    forger = await Forger.open(stage.authorityFolder);
    await startEchoServer(lab, stage.server.namespace, PORT);
    await warmUp();
    began = stage.footprint();
    // They are given up after 15 s; until then there is enough to do.
    halves = await Promise.all([1, 2, 3].map(() => LineClient.open(stage.enforcer.socket)));
    for (const half of halves) half.send('{"version":1,"op":"sta');
  }, 120_000);
  afterAll(() => lab.close());

  /**
   * What makes V8 widen its heap is done once before the measurement, for it keeps most of the room that it had to take: whatever
   * grows with each bout grows after this one as well.
   */
  async function warmUp(): Promise<void> {
    await expectAuthorised(stage);
    await flood(stage, 1_000);
    await crowd(stage);
    const client = await LineClient.open(stage.enforcer.socket);
    await client.ask({
      op: "status",
      nested: JSON.parse(`${"[".repeat(2_000)}${"]".repeat(2_000)}`) as object,
    });
    client.close();
    await refusePolicy(stage, brokenPolicy);
    await mendPolicy(stage);
    await (await stage.enforcer.node.addPod("first", { app: "crowded" })).delete();
    // The enforcer opens a raw socket for each family when it first has to send a reset, and keeps it.
    const strays = ([4, 6] as const).flatMap((family) => inbound(family, ends(family, "in"), PORT));
    await stage.sendIn(strays.filter(({ name }) => name === "data of no connection"));
    await stage.idle();
  }

  /** What was counted while `action` ran. */
  async function counted(action: () => unknown): Promise<{ reasons: Counts; kernel: Counts }> {
    const before = await Promise.all([stage.reasons(), stage.kernel()]);
    await action();
    const after = await Promise.all([stage.reasons(), stage.kernel()]);
    return { reasons: growth(before[0], after[0]), kernel: growth(before[1], after[1]) };
  }

  /** Exactly so many of each of these reasons, however long the reports of a busy worker take. */
  async function expectCounted(expected: Counts, action: () => unknown): Promise<void> {
    const before = await stage.reasons();
    await action();
    const grown = async (): Promise<Counts> => growth(before, await stage.reasons());
    await expect.poll(grown, { timeout: 10_000 }).toMatchObject(expected);
  }

  function tally(names: readonly string[]): Counts {
    const groups = Map.groupBy(names, (name) => name);
    return Object.fromEntries([...groups].map(([name, { length }]) => [name, length]));
  }

  function ends(family: Family, direction: "in" | "out"): { source: string; destination: string } {
    const [pod, other] = [{ 4: stage.server.address, 6: stage.server.address6 }[family], nobody[family]];
    const [source, destination] = direction === "in" ? [other, pod] : [pod, other];
    return { source: hexOf(source), destination: hexOf(destination) };
  }

  async function expectReasons(packets: readonly BadPacket[], send: (some: readonly BadPacket[]) => unknown) {
    const judged = packets.flatMap(({ fate, pieces = 1 }) =>
      "reason" in fate ? Array<string>(pieces).fill(fate.reason) : [],
    );
    expect(judged).not.toEqual([]);
    await expectCounted(tally(judged), () => send(packets.filter(({ fate }) => "reason" in fate)));
  }

  describe.each([4, 6] as const)("packets, IPv%i", (family) => {
    test("to the pod, that cross its queues", async () => {
      const packets = [
        ...inbound(family, ends(family, "in"), PORT),
        ...superPackets(family, ends(family, "in"), PORT),
      ];
      // A last fragment is judged with its first.
      const first = packets.filter(({ name }) => name === "a first fragment");
      await stage.sendIn(first);
      await expectReasons(packets, (some) => stage.sendIn(some));
    });

    test("to the pod, that its kernel drops", async () => {
      const packets = inbound(family, ends(family, "in"), PORT).filter(({ fate }) => "kernel" in fate);
      for (const [counter, group] of Map.groupBy(packets, ({ fate }) =>
        "kernel" in fate ? fate.kernel : "",
      )) {
        const { reasons, kernel } = await counted(() => stage.sendIn(group));
        expect(kernel[counter], counter).toBeGreaterThanOrEqual(group.length);
        expect([reasons, kernel["watch:passed"]]).toEqual([{}, undefined]);
      }
    });

    test.each(["flags", "invalid"] as const)("to the pod, that its rules drop (%s)", async (why) => {
      const packets = inbound(family, ends(family, "in"), PORT).filter(
        ({ fate }) => "rules" in fate && fate.rules === why,
      );
      const { reasons, kernel } = await counted(() => stage.sendIn(packets));
      expect(kernel).toMatchObject({
        "watch:arrived": packets.length,
        ...(why === "invalid" ? { "watch:invalid": packets.length } : {}),
      });
      expect([reasons, kernel["watch:passed"]]).toEqual([{}, undefined]);
    });

    test("from the pod", async () => {
      await expectReasons(outbound(family, ends(family, "out"), PORT), (some) => {
        expect(stage.sendOut(some.map(({ bytes }) => bytes))).toBe(some.length);
      });
    });
  });

  /** As SYNs, each from an address of its own, so that none spends another's budget. */
  function wrap(payload: Buffer, source?: string): { bytes: Buffer; family: 4 } {
    serial += 1;
    const from = source ?? `10.244.${100 + (serial >> 8)}.${serial & 255}`;
    const fields = { sourcePort: 1024 + serial, destinationPort: PORT, options: "020405b4 fd047472" };
    const bytes = tcpPacket(
      4,
      { ...fields, payload: payload.toString("hex") },
      { source: hexOf(from), destination: hexOf(stage.server.address) },
    );
    return { bytes, family: 4 };
  }

  /** `atOnce` is below what a queue holds for verification. */
  async function expectRefused(messages: readonly BadMessage[], atOnce = 48): Promise<void> {
    await expectCounted(tally(messages.map(({ reason }) => reason)), async () => {
      for (let start = 0; start < messages.length; start += atOnce) {
        await stage.sendIn(messages.slice(start, start + atOnce).map(({ payload }) => wrap(payload)));
        await waitFor("an empty queue", () => stage.waiting() === 0);
      }
    });
  }

  describe("handshake messages", () => {
    test("cut at every byte", () => expectRefused(forger.cutMessages(), 200));
    test("with a token and a certificate cut at every byte", () => expectRefused(forger.cutTokens()));
    test("of other versions, suites, flags, extensions and lengths", () =>
      expectRefused(forger.wrongMessages()));
    test("with identities that this cluster's CA never gave, or no more", () =>
      expectRefused(forger.wrongIdentities()));

    test("whose key agrees with every other on the same secret", async () => {
      const token = forger.token({ publicKey: new Uint8Array(32) });
      await stage.sendIn([wrap(forger.syn({ token }))]);
      await waitForReason("key-agreement");
    });

    test("more first-seen tokens of one source than its budget verifies", async () => {
      await stage.sendIn(Array.from({ length: 40 }, () => wrap(forger.syn(), "10.244.99.1")));
      await waitForReason("budget-spent");
    });

    test("more first-seen tokens at once than a queue holds for verification", async () => {
      const certificates = [forger.certificate()];
      await waitFor(
        "hold-full",
        async () => {
          await stage.sendIn(Array.from({ length: 200 }, () => wrap(forger.syn({ certificates }))));
          return ((await stage.reasons())["hold-full"] ?? 0) > 0;
        },
        30_000,
      );
    });

    test("one token, replayed from more addresses than it may be half-open from; all of it ends by itself", async () => {
      const changes = { token: forger.token(), certificates: [forger.certificate()] };
      await stage.sendIn(Array.from({ length: 40 }, () => wrap(forger.syn(changes))));
      await waitForReason("connection-evicted");
      await waitForReason("connection-expired");
    });
  });

  async function waitForReason(reason: string): Promise<void> {
    await waitFor(reason, async () => ((await stage.reasons())[reason] ?? 0) > 0, 20_000);
  }

  test("a flood of datagrams: status is answered in time, and the log says it in a line", async () => {
    const client = await LineClient.open(stage.enforcer.socket);
    const lines = stage.logged("refused: no-address-rule").length;
    const over = new AbortController();
    const asking = slowestAnswerMs(client, over.signal);
    const { reasons } = await counted(() => flood(stage, 2_000));
    over.abort();
    expect(await asking).toBeLessThan(STATUS_DEADLINE_MS);
    client.close();
    expect(reasons["no-address-rule"]).toBeGreaterThan(1_000);
    expect(stage.logged("refused: no-address-rule").length - lines).toBeLessThanOrEqual(2);
  });

  test("nothing that crossed a queue stays in memory", () => {
    expect(grownMb()).toBeLessThan(MARGIN_MB.packets);
  });

  function grownMb(): number {
    const grown = stage.footprint().residentMb - began.residentMb;
    console.log(
      `resident: ${began.residentMb.toFixed(0)} MB after the warm-up, ${grown.toFixed(0)} more now`,
    );
    return grown;
  }

  /** Asks for the status again and again until `over`. */
  async function slowestAnswerMs(client: LineClient, over: AbortSignal): Promise<number> {
    let slowest = 0;
    while (!over.aborted) {
      const sinceMs = performance.now();
      expect(await client.ask({ op: "status" })).toMatchObject({ ok: true, ready: true });
      slowest = Math.max(slowest, performance.now() - sinceMs);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return slowest;
  }

  test("half messages are given up", async () => {
    for (const half of halves) {
      expect(await half.next()).toMatchObject({ ok: false, error: { code: 100 } });
      expect(await half.next()).toBe("closed");
    }
  });

  testControlSocket(() => stage);
  testFiles(() => stage);
  testNamespaces(() => stage);
  testFullDisk(() => stage);

  test("afterwards the same process authorises a connection, and uses what it used before", async () => {
    await expectAuthorised(stage);
    const count = (): number => stage.footprint().descriptors.length;
    await waitFor("the descriptors", () => count() <= began.descriptors.length).catch(() => undefined);
    await stage.idle();
    const ended = stage.footprint();
    expect(ended).toMatchObject({
      startedAtTicks: began.startedAtTicks,
      descriptors: began.descriptors,
      waiting: 0,
    });
    expect(grownMb()).toBeLessThan(MARGIN_MB.end);
  });

  test("each reason has its counter, and lines in the log that are few", async () => {
    const [counters, metrics] = [await stage.reasons(), await stage.metrics()];
    expect(counters).not.toHaveProperty("internal-error");
    expect(counters).not.toHaveProperty("queue-error");
    const refused = Object.keys(counters).filter((reason) => !reason.endsWith("-allow"));
    console.log(`occurred: ${refused.length} of ${Object.keys(reasonTexts).length}: ${refused.join(" ")}`);
    const elapsedMs = performance.now() - stage.startedMs;
    for (const reason of refused) {
      const samples = Object.entries(metrics).filter(([name]) => name.includes(`reason="${reason}"`));
      expect(
        samples.reduce((sum, [, count]) => sum + count, 0),
        reason,
      ).toBe(counters[reason]);
      const lines = stage.logged(`refused: ${reason}`);
      expect(lines.length, reason).toBeGreaterThan(0);
      expect(lines.length, reason).toBeLessThanOrEqual(1 + elapsedMs / 10_000);
    }
  });
});
