/** Two pods that dial one another from the very ports that they dial: plain TCP makes one connection of it, enforcers refuse it at both ends. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { waitFor } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";
import type { Pod } from "../harness/cluster.ts";
import { PodKernel } from "./pod-kernel.ts";
import { Talker, type Talk } from "./talker.ts";
import { segmentIs, type Segment } from "./weather.ts";
import { WeatherStage, type End, type Family } from "./weather-stage.ts";

const lab = new Lab();
let stage: WeatherStage;
let plain: { readonly [end in "client" | "server"]: End & { readonly pod: Pod } };
let enforced: typeof plain;

async function plainEnd(end: "client" | "server"): Promise<End & { pod: Pod }> {
  const enforcer = end === "client" ? stage.pair.clientEnforcer : stage.pair.serverEnforcer;
  const pod = await enforcer.node.addPod(`plain-${end}`, {}, { trireme: undefined });
  const talker = await Talker.start(lab, pod.namespace);
  return { pod, talker, kernel: new PodKernel(lab, pod.namespace) };
}

beforeAll(async () => {
  stage = await WeatherStage.build(lab, { mode: "pki" });
  const { client, server } = stage.pair;
  enforced = { client: { ...stage.client, pod: client }, server: { ...stage.server, pod: server } };
  plain = { client: await plainEnd("client"), server: await plainEnd("server") };
}, 60_000);
afterAll(() => lab.close());

let nextPort = 41_000;

interface Dialling {
  readonly talks: readonly Talk[];
  readonly seen: () => Segment[];
}

/** Both ends dial, and both SYNs are on their way before either arrives. */
async function dialBoth({ client, server }: typeof plain, family: Family): Promise<Dialling> {
  const ports = [nextPort++, nextPort++] as const;
  const isOfIt = ({ sourcePort }: Segment): boolean => sourcePort === ports[0] || sourcePort === ports[1];
  const held = stage.weather.hold((segment) => segmentIs.syn(segment) && isOfIt(segment), { times: 2 });
  const talks = [
    client.talker.connect(server.pod[family], ports[1], ports[0]),
    server.talker.connect(client.pod[family], ports[0], ports[1]),
  ];
  await held.happened();
  expect(new Set(held.segments.map(({ sourcePort }) => sourcePort))).toEqual(new Set(ports));
  held.release();
  return { talks, seen: () => stage.weather.seen.filter(isOfIt) };
}

const families = ["address", "address6"] as const;

test.each(families)(
  "without us the kernels make one connection of two SYNs that cross, by %s",
  async (family) => {
    const { talks, seen } = await dialBoth(plain, family);
    await Promise.all(talks.map((talk) => talk.connected()));
    expect(seen().filter(segmentIs.synAck)).toHaveLength(2);
  },
);

test.each(families)("with us no SYN reaches a kernel, and both ends say why, by %s", async (family) => {
  const ends = ["client", "server"] as const;
  const refusals = (): Promise<number[]> =>
    Promise.all(ends.map((end) => stage.refusals(end, "simultaneous-open")));
  const before = await refusals();
  const kernels = ends.map((end) => stage[end].kernel);
  const arrived = kernels.map((kernel) => kernel.counter("TcpInSegs"));
  const { talks, seen } = await dialBoth(enforced, family);
  // Each sends its SYN again, and again the two cross.
  const syns = (talk: number): number => seen().filter(({ sourcePort }) => sourcePort % 2 === talk).length;
  await waitFor("more SYNs", () => syns(0) >= 3 && syns(1) >= 3);
  await waitFor("refusals at both ends", async () =>
    (await refusals()).every((count, end) => count >= (before[end] ?? 0) + 2),
  );
  expect(seen().every(segmentIs.syn)).toBe(true);
  expect(kernels.map((kernel) => kernel.counter("TcpInSegs"))).toEqual(arrived);
  for (const kernel of kernels) expect(kernel.counter("TcpExtTCPSynRetrans")).toBeGreaterThanOrEqual(2);
  for (const talk of talks) {
    expect(talk.has("connected \\d+")).toBe(false);
    talk.abandon();
  }
});
