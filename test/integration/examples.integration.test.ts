/** The example policy and configuration that are installed, with the lab's addresses: DNS, an API server and node probes work. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { repository } from "../harness/binaries.ts";
import type { JsonObject } from "../harness/cni-chain.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { askUdp, connect, startEchoServer, startUdpEcho } from "../harness/traffic.ts";
import { createPair, type Pair } from "./pair.ts";

const API_SERVER = "10.96.0.1";
const DNS = "10.96.0.10";

/** The example with its pod network and its node's address replaced by the lab's. */
function example(name: string): string {
  const text = readFileSync(join(repository, "install/examples", name), "utf8");
  return text.replaceAll("10.1.0.1", "10.244.1.1").replaceAll("10.1.0.0/16", "10.244.0.0/16");
}

describe("the installed examples", () => {
  const lab = new Lab();
  let pair: Pair;

  beforeAll(async () => {
    const { networks } = parse(example("enforcer.yaml")) as JsonObject;
    pair = await createPair(lab, {
      mode: "pki",
      policy: example("policy.yaml"),
      config: { networks },
      clientLabels: { app: "web", "uses-api-server": "true" },
      serverLabels: { app: "api" },
    });
    const { cluster, client, server } = pair;
    for (const address of [API_SERVER, DNS])
      await execOk(cluster.router, ["ip", "address", "add", `${address}/32`, "dev", "lo"]);
    await startEchoServer(lab, cluster.router, 443);
    await startUdpEcho(lab, cluster.router, 53, DNS);
    for (const pod of [client, server]) await startEchoServer(lab, pod.namespace, 8080);
  }, 60_000);
  afterAll(() => lab.close());

  test("every pod resolves names", async () => {
    for (const { namespace } of [pair.client, pair.server])
      expect(await askUdp(namespace, DNS, 53)).toBe("answered");
  });

  test("only the pod with the label reaches the API server", async () => {
    expect((await connect(pair.client.namespace, API_SERVER, 443)).outcome).toBe("connected");
    expect((await connect(pair.server.namespace, API_SERVER, 443)).outcome).toBe("refused");
  });

  test("the node's probes reach their port", async () => {
    const node = pair.clientEnforcer.node.namespace;
    expect((await connect(node, pair.client.address, 8080)).outcome).toBe("connected");
  });

  test("the shop's tiers connect in their order, and not backwards", async () => {
    const { client, server } = pair;
    expect((await connect(client.namespace, server.address, 8080)).outcome).toBe("connected");
    expect((await connect(server.namespace, client.address, 8080, { timeoutMs: 800 })).outcome).toBe(
      "timeout",
    );
  });
});
