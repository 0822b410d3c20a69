/** Peers without identity: what isn't TCP, and TCP with addresses outside the managed networks or listed as unmanaged. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject } from "../harness/cni-chain.ts";
import { waitFor } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";
import { askUdp, connect, startEchoServer, startUdpEcho } from "../harness/traffic.ts";
import { createPair, type Pair } from "./pair.ts";

/** The router's addresses towards the first node: outside the pod networks. */
const OUTSIDE = "192.168.244.5";
const OUTSIDE6 = "fd00:99:1::1";

const policy = `version: 1
policies:
  - name: outside
    subject: { matchLabels: { app: client } }
    egress:
      - name: dns
        to: [{ ipBlock: { cidr: ${OUTSIDE}/32 } }, { ipBlock: { cidr: "${OUTSIDE6}/128" } }]
        ports: [{ protocol: UDP, port: 53 }, { protocol: TCP, port: 443 }]
      - name: ping
        to: [{ ipBlock: { cidr: ${OUTSIDE}/32 } }]
        ports: [{ protocol: ICMP }]
    ingress:
      - name: probes
        from: [{ ipBlock: { cidr: 10.244.1.1/32 } }, { ipBlock: { cidr: ${OUTSIDE}/32 } }]
        ports: [{ port: 8080 }]
`;

describe.each(["psk", "pki"] as const)("peers judged by address, mode %s", (mode) => {
  const lab = new Lab();
  let pair: Pair;

  beforeAll(async () => {
    pair = await createPair(lab, { mode, policy });
    for (const port of [53, 54]) await startUdpEcho(lab, pair.cluster.router, port);
    for (const port of [443, 444]) await startEchoServer(lab, pair.cluster.router, port);
    for (const port of [8080, 8081]) await startEchoServer(lab, pair.client.namespace, port);
    await startUdpEcho(lab, pair.client.namespace, 53);
  }, 60_000);
  afterAll(() => lab.close());

  test.each([OUTSIDE, OUTSIDE6])(
    "UDP to %s passes on the port that a rule names, and on no other",
    async (address) => {
      const { client } = pair;
      expect(await askUdp(client.namespace, address, 53)).toBe("answered");
      expect(await askUdp(client.namespace, address, 54)).toBe("silent");
    },
  );

  test.each([OUTSIDE, OUTSIDE6])(
    "TCP to %s likewise, and what is denied is refused at once",
    async (address) => {
      const { client } = pair;
      expect(await connect(client.namespace, address, 443, { bytes: 10_000 })).toMatchObject({
        outcome: "connected",
        echoed: 10_000,
      });
      expect((await connect(client.namespace, address, 444)).outcome).toBe("refused");
    },
  );

  test("the record says that an address was the proof", async () => {
    const { client, clientEnforcer } = pair;
    await connect(client.namespace, OUTSIDE, 443);
    const flow = await waitFor("the flow", async () =>
      (await clientEnforcer.flows()).findLast(
        ({ destination }) => (destination as JsonObject)["port"] === 443,
      ),
    );
    expect(flow).toMatchObject({
      verdict: "allow",
      reason: "address-allow",
      rule: "outside/dns",
      proof: "address",
    });
  });

  test("ICMP passes where a rule names it", async () => {
    const ping = (address: string): Promise<{ status: number }> =>
      pair.client.exec(["busybox", "ping", "-c", "1", "-W", "1", address]);
    expect((await ping(OUTSIDE)).status).toBe(0);
    expect((await ping("192.168.244.6")).status).not.toBe(0);
  });

  test("a probe from the node reaches the port that a rule names, and no other", async () => {
    const { client, clientEnforcer } = pair;
    const node = clientEnforcer.node.namespace;
    expect((await connect(node, client.address, 8080)).outcome).toBe("connected");
    expect((await connect(node, client.address, 8081, { timeoutMs: 800 })).outcome).toBe("timeout");
  });

  test("so does a client outside; by UDP nothing gets in", async () => {
    const { client, cluster } = pair;
    expect((await connect(cluster.router, client.address, 8080)).outcome).toBe("connected");
    expect((await connect(cluster.router, client.address, 8081, { timeoutMs: 800 })).outcome).toBe("timeout");
    expect(await askUdp(cluster.router, client.address, 53)).toBe("silent");
  });

  test("between pods, UDP needs an address rule as well", async () => {
    expect(await askUdp(pair.server.namespace, pair.client.address, 53)).toBe("silent");
  });
});
