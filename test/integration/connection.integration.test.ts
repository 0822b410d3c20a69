/** The main job with real parts: pods made by a real conflist, connections judged by two live enforcers. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject } from "../harness/cni-chain.ts";
import { waitFor } from "../harness/command.ts";
import type { Enforcer } from "../harness/enforcer.ts";
import { Lab } from "../harness/lab.ts";
import { connect, startEchoServer } from "../harness/traffic.ts";
import { createPair, type Mode, type Pair } from "./pair.ts";

const policy = `version: 1
policies:
  - name: client
    subject: { matchLabels: { app: client } }
    egress:
      - { name: to-server, action: allow, to: [{ matchLabels: { app: server } }], ports: [{ port: 8080, endPort: 8082 }] }
  - name: server
    subject: { matchLabels: { app: server } }
    ingress:
      - { name: from-client, action: allow, from: [{ matchLabels: { app: client } }], ports: [{ port: 8080 }, { port: 8082 }, { port: 8083 }] }
`;

/** The newest decision that an enforcer recorded on connections to `port`. */
function decision(enforcer: Enforcer, port: number): Promise<JsonObject> {
  return waitFor("a flow record", async () => {
    const flows = await enforcer.flows();
    return flows.findLast((flow) => (flow["destination"] as JsonObject)["port"] === port);
  });
}

describe.each<Mode>(["psk", "pki"])("two pods on two nodes, mode %s", (mode) => {
  const lab = new Lab();
  let pair: Pair;

  beforeAll(async () => {
    pair = await createPair(lab, { mode, policy });
    for (const port of [8080, 8081]) await startEchoServer(lab, pair.server.namespace, port);
  }, 60_000);
  afterAll(() => lab.close());

  test.each(["address", "address6"] as const)(
    "what both ends allow connects and carries data, by %s",
    async (family) => {
      const { client, server } = pair;
      const attempt = await connect(client.namespace, server[family], 8080, { bytes: 100_000 });
      expect(attempt).toMatchObject({ outcome: "connected", echoed: 100_000 });
    },
  );

  test("both ends record who, whom, verdict and rule", async () => {
    const { client, server, clientEnforcer, serverEnforcer } = pair;
    const record = {
      verdict: "allow",
      reason: "rule-allow",
      proof: "token",
      protocol: "tcp",
      source: { attributes: { app: "client", "@node": "node-a", "@ns": "default" } },
      destination: { attributes: { app: "server", "@node": "node-b", "@ns": "default" }, port: 8080 },
    };
    await connect(client.namespace, server.address, 8080);
    expect(await decision(clientEnforcer, 8080)).toMatchObject({ ...record, rule: "client/to-server" });
    expect(await decision(serverEnforcer, 8080)).toMatchObject({ ...record, rule: "server/from-client" });
  });

  test("what the server's policy doesn't allow is met with silence, and both ends say so", async () => {
    const { client, server, serverEnforcer } = pair;
    const attempt = await connect(client.namespace, server.address, 8081, { timeoutMs: 1_500 });
    expect(attempt.outcome).toBe("timeout");
    expect(await decision(serverEnforcer, 8081)).toMatchObject({ verdict: "deny", reason: "no-rule" });
  });

  test("what the client's policy doesn't allow is refused at once", async () => {
    const { client, server, clientEnforcer } = pair;
    await startEchoServer(lab, server.namespace, 8083);
    const attempt = await connect(client.namespace, server.address, 8083, { timeoutMs: 1_500 });
    expect(attempt).toEqual({ outcome: "refused", echoed: 0 });
    expect(await decision(clientEnforcer, 8083)).toMatchObject({
      verdict: "deny",
      reason: "no-rule",
      proof: "token",
    });
  });

  test("a pod without any egress rule is refused at its SYN, and no token leaves", async () => {
    const { client, server, serverEnforcer } = pair;
    await startEchoServer(lab, client.namespace, 8082);
    const attempt = await connect(server.namespace, client.address, 8082, { timeoutMs: 1_500 });
    expect(attempt.outcome).toBe("refused");
    expect(await decision(serverEnforcer, 8082)).toMatchObject({
      verdict: "deny",
      reason: "no-egress",
      proof: "none",
    });
  });

  test("a closed port is refused at once", async () => {
    const { client, server } = pair;
    const attempt = await connect(client.namespace, server.address, 8082, { timeoutMs: 1_500 });
    expect(attempt.outcome).toBe("refused");
  });

  test("a plain client outside gets nothing", async () => {
    const { cluster, server } = pair;
    for (const address of [server.address, server.address6]) {
      const attempt = await connect(cluster.router, address, 8080, { timeoutMs: 1_500 });
      expect(attempt).toEqual({ outcome: "timeout", echoed: 0 });
    }
  });
});
