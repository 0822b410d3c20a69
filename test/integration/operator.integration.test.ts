/** What `trireme status`, `trireme flows` and /metrics print, compared with traffic that the test made. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject } from "../harness/cni-chain.ts";
import { sleep, waitFor } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";
import { connect, connectTimes, startEchoServer } from "../harness/traffic.ts";
import { createPair, type Pair } from "./pair.ts";

const ALLOWED = 7;
const policy = `version: 1
policies:
  - name: all
    subject: {}
    egress: [{ name: out, to: [{}] }]
  - name: server
    subject: { matchLabels: { app: server } }
    ingress: [{ name: in, from: [{ matchLabels: { app: client } }], ports: [{ port: 8080 }] }]
`;

describe("what operators see", () => {
  const lab = new Lab();
  let pair: Pair;

  beforeAll(async () => {
    pair = await createPair(lab, { mode: "psk", policy });
    for (const port of [8080, 8081]) await startEchoServer(lab, pair.server.namespace, port);
    const { client, server } = pair;
    await connectTimes(client.namespace, server.address, 8080, { times: ALLOWED });
    await connect(client.namespace, server.address, 8081, { timeoutMs: 700 });
    await sleep(300);
  }, 60_000);
  afterAll(() => lab.close());

  test("status names the unit as it was added, and counts what happened", async () => {
    const { server, serverEnforcer } = pair;
    const { version, pus, counters } = await serverEnforcer.json(["status"]);
    expect(version).toBe(1);
    expect(pus).toEqual([
      {
        id: expect.stringMatching(/^[0-9a-f]{16}$/) as unknown,
        containerId: server.attachment.containerId,
        network: "pods",
        ifname: "eth0",
        netns: server.attachment.netnsPath,
        addresses: server.addresses,
        attributes: { "@node": "node-b", "@ns": "default", app: "server" },
        enforcedSince: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as unknown,
      },
    ]);
    expect(counters).toMatchObject({ "rule-allow": ALLOWED, "no-rule": 1 });
  });

  test("flows has one record of each connection, in the order of time", async () => {
    const { client, server, serverEnforcer } = pair;
    const flows = await serverEnforcer.flows();
    const known = flows.map(({ verdict, reason, rule, proof, protocol, source, destination }) => ({
      verdict,
      reason,
      rule,
      proof,
      protocol,
      from: (source as JsonObject)["address"],
      to: (destination as JsonObject)["address"],
      port: (destination as JsonObject)["port"],
    }));
    const common = { proof: "token", protocol: "tcp", from: client.address, to: server.address };
    const allowed = { verdict: "allow", reason: "rule-allow", rule: "server/in", ...common, port: 8080 };
    const denied = { verdict: "deny", reason: "no-rule", rule: null, ...common, port: 8081 };
    expect(known).toEqual([...Array.from({ length: ALLOWED }, () => allowed), denied]);
    const times = flows.map(({ time }) => time as string);
    expect(times).toEqual([...times].sort());
  });

  test("release opens the pod, and only asked twice", async () => {
    const { server, serverEnforcer, cluster } = pair;
    const [pu] = (await serverEnforcer.json(["status"]))["pus"] as { id: string }[];
    const id = pu?.id ?? "";
    expect((await serverEnforcer.trireme(["release", id])).status).not.toBe(0);
    expect((await connect(cluster.router, server.address, 8080, { timeoutMs: 500 })).outcome).toBe("timeout");
    expect((await serverEnforcer.trireme(["release", id, "--yes"])).status).toBe(0);
    const isOpen = async (): Promise<boolean> =>
      (await connect(cluster.router, server.address, 8080, { timeoutMs: 500 })).outcome === "connected";
    await waitFor("the open pod", isOpen);
    expect((await serverEnforcer.json(["status"]))["pus"]).toEqual([]);
  });

  test("release works with the enforcer dead", async () => {
    const { client, clientEnforcer, cluster } = pair;
    await startEchoServer(lab, client.namespace, 8080);
    await clientEnforcer.kill();
    expect((await connect(cluster.router, client.address, 8080, { timeoutMs: 500 })).outcome).toBe("timeout");
    const released = await clientEnforcer.trireme([
      "release",
      "--all",
      "--yes",
      "--state",
      clientEnforcer.stateFolder,
    ]);
    expect(released).toMatchObject({ status: 0 });
    expect((await connect(cluster.router, client.address, 8080, { timeoutMs: 500 })).outcome).toBe(
      "connected",
    );
  });

  test("an enforcer that cannot be reached is exit code 4", async () => {
    for (const verb of ["status", "flows"])
      expect((await pair.clientEnforcer.trireme([verb])).status).toBe(4);
  });
});
