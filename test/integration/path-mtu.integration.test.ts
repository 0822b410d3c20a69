/** A next hop with an MTU of 1,300 bytes: identities that fit it, data after the handshake, and identities that cannot fit it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { podNetworks, type Pod } from "../harness/cluster.ts";
import type { JsonObject } from "../harness/cni-chain.ts";
import type { Enforcer } from "../harness/enforcer.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { connect, connectTimes, startEchoServer } from "../harness/traffic.ts";
import { manyLabels } from "./labels.ts";
import { createPair, type Pair } from "./pair.ts";

const PORT = 8080;
const MTU = 1300;
const families = ["address", "address6"] as const;

/** The router's routes to both nodes' pods get the small MTU: in either direction the next hop is narrower than the pod's interface. */
async function narrow({ cluster }: Pair): Promise<void> {
  for (const { index, address, address6 } of cluster.nodes) {
    const small = ["mtu", "lock", String(MTU)];
    await execOk(cluster.router, [
      "ip",
      "route",
      "replace",
      `10.244.${index}.0/24`,
      "via",
      address,
      ...small,
    ]);
    await execOk(cluster.router, [
      "ip",
      "route",
      "replace",
      `fd00:244:${index}::/64`,
      "via",
      address6,
      ...small,
    ]);
  }
}

/** Decisions on connections to `port` that were denied, by reason. */
async function refusals(enforcer: Enforcer): Promise<unknown[]> {
  const flows = await enforcer.flows();
  return flows.filter(({ verdict }) => verdict === "deny").map(({ reason }) => reason);
}

/** ICMP errors that a namespace made: "fragmentation needed" and "packet too big". */
async function errorsMade(namespace: string): Promise<number> {
  const counters = ["nstat", "-a", "-s", "-j", "IcmpOutDestUnreachs", "Icmp6OutPktTooBigs"];
  const { kernel } = JSON.parse(await execOk(namespace, counters)) as { kernel: Record<string, number> };
  return Object.values(kernel).reduce((sum, count) => sum + count, 0);
}

describe.each(["psk", "pki"] as const)("across a next hop of 1,300 bytes, mode %s", (mode) => {
  const lab = new Lab();
  let pair: Pair;

  beforeAll(async () => {
    pair = await createPair(lab, { mode, clientLabels: manyLabels(20), serverLabels: manyLabels(20) });
    await narrow(pair);
    await startEchoServer(lab, pair.server.namespace, PORT);
  }, 60_000);
  afterAll(() => lab.close());

  test.each(families)("twenty labels of 31 characters connect and carry data, by %s", async (family) => {
    const { client, cluster, server } = pair;
    const before = await errorsMade(cluster.router);
    // The client's first segments are full before its stack knows the path.
    const [first] = await connectTimes(client.namespace, server[family], PORT, { bytes: 200_000 });
    expect(first).toMatchObject({ outcome: "connected", echoed: 200_000 });
    expect(await errorsMade(cluster.router)).toBeGreaterThan(before);
    const again = await connectTimes(client.namespace, server[family], PORT, { bytes: 20_000, times: 5 });
    expect(again).toMatchObject(again.map(() => ({ outcome: "connected", echoed: 20_000 })));
  });
});

describe("an identity that cannot fit", () => {
  const lab = new Lab();
  let pair: Pair;
  let bigClient: Pod;
  let bigServer: Pod;

  beforeAll(async () => {
    pair = await createPair(lab, { mode: "pki", config: { networks: { pods: podNetworks } } });
    const { clientEnforcer, serverEnforcer } = pair;
    // SYN and SYN-ACK of 1,310 to 1,500 bytes.
    bigClient = await clientEnforcer.node.addPod("big-client", manyLabels(28));
    bigServer = await serverEnforcer.node.addPod("big-server", manyLabels(28));
    for (const { namespace } of [bigServer, pair.server]) await startEchoServer(lab, namespace, PORT);
  }, 60_000);
  afterAll(() => lab.close());

  test.each(families)("connects at 1,500 bytes, by %s", async (family) => {
    const attempt = await connect(bigClient.namespace, bigServer[family], PORT, { bytes: 10_000 });
    expect(attempt).toMatchObject({ outcome: "connected", echoed: 10_000 });
  });

  describe("once the next hop has 1,300", () => {
    beforeAll(() => narrow(pair));

    test.each(families)("is refused when the SYN is sent again, and then at once, by %s", async (family) => {
      const { server, clientEnforcer } = pair;
      const before = (await refusals(clientEnforcer)).length;
      const first = await connect(bigClient.namespace, server[family], PORT, { timeoutMs: 5_000 });
      expect(first.outcome).toBe("refused");
      const beganMs = performance.now();
      const second = await connect(bigClient.namespace, server[family], PORT, { timeoutMs: 5_000 });
      expect(second.outcome).toBe("refused");
      expect(performance.now() - beganMs).toBeLessThan(900);
      expect((await refusals(clientEnforcer)).slice(before)).toEqual(["packet-too-big", "packet-too-big"]);
    });

    test.each(families)("as the server's is dropped, and the server says why, by %s", async (family) => {
      const { client, serverEnforcer } = pair;
      const before = (await refusals(serverEnforcer)).length;
      const attempt = await connect(client.namespace, bigServer[family], PORT, { timeoutMs: 2_500 });
      expect(attempt.outcome).toBe("timeout");
      expect((await refusals(serverEnforcer)).slice(before)).toEqual(["packet-too-big"]);
    });

    test.each(families)("leaves others alone, by %s", async (family) => {
      const attempt = await connect(pair.client.namespace, pair.server[family], PORT, { bytes: 10_000 });
      expect(attempt).toMatchObject({ outcome: "connected", echoed: 10_000 });
    });

    test("shows in the counters of both ends", async () => {
      for (const enforcer of [pair.clientEnforcer, pair.serverEnforcer]) {
        const { counters } = (await enforcer.json(["status"])) as { counters: JsonObject };
        expect(counters["packet-too-big"]).toBeGreaterThanOrEqual(2);
      }
    });
  });
});
