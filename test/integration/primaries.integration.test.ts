/** Other primary plugins than ptp: pods on one bridge, and pods that are neighbours of each other by macvlan. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCluster, type Node, type Pod } from "../harness/cluster.ts";
import type { NetworkList, PluginEntry } from "../harness/cni-chain.ts";
import type { Enforcer } from "../harness/enforcer.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { connect, startEchoServer } from "../harness/traffic.ts";
import { startEnforcers } from "./pair.ts";

const ALLOWED = 8080;
const DENIED = 8081;
const policy = `version: 1
policies:
  - name: servers
    subject: { matchLabels: { app: server } }
    ingress: [{ name: in, from: [{ matchLabels: { app: client } }], ports: [{ port: ${ALLOWED} }] }]
  - name: clients
    subject: { matchLabels: { app: client } }
    egress: [{ name: out, to: [{}] }]
`;

interface Primary {
  readonly name: string;
  readonly prepare: (lab: Lab, node: Node, router: string) => Promise<void>;
  readonly entry: PluginEntry;
}

/** A link of the node's that pods join, with the router as their gateway at its other end. */
async function layLan(lab: Lab, { namespace, index }: Node, router: string): Promise<void> {
  const port = `lan${index}`;
  await lab.addVeth({ namespace, name: "lan0" }, { namespace: router, name: port });
  const lines = [
    `address add 10.244.${index}.1/24 dev ${port}`,
    `address add fd00:244:${index}::1/64 dev ${port} nodad`,
    `route replace 10.244.${index}.0/24 dev ${port}`,
    `route del fd00:244:${index}::/64 via fd00:99:${index}::2`,
  ];
  await execOk(router, ["ip", "-batch", "-"], { input: lines.join("\n") });
}

const primaries: readonly Primary[] = [
  {
    name: "bridge",
    prepare: () => Promise.resolve(),
    entry: { type: "bridge", bridge: "cni0", isGateway: true, ipMasq: false },
  },
  { name: "macvlan", prepare: layLan, entry: { type: "macvlan", master: "lan0", mode: "bridge" } },
];

/** The node's usual list, with another plugin in the place of ptp. */
function listOf(node: Node, entry: PluginEntry): NetworkList {
  const usual = node.networkList();
  const [ptp, ...ours] = usual.plugins;
  const ranges = [`10.244.${node.index}`, `fd00:244:${node.index}:`].map((prefix) =>
    prefix.includes(":")
      ? [{ subnet: `${prefix}:/64`, gateway: `${prefix}:1` }]
      : [{ subnet: `${prefix}.0/24`, gateway: `${prefix}.1` }],
  );
  const routes = [{ dst: "0.0.0.0/0" }, { dst: "::/0" }];
  const ipam = { type: "host-local", dataDir: join(node.folder, "ipam"), ranges, routes };
  return { ...usual, plugins: ptp === undefined ? [] : [{ ...entry, ipam }, ...ours] };
}

describe.each(primaries)("behind $name", ({ prepare, entry }) => {
  const lab = new Lab();
  let enforcers: Enforcer[];
  let client: Pod;
  let servers: { "on the same node": Pod; "on another node": Pod };

  beforeAll(async () => {
    const cluster = await createCluster(lab);
    const nodes = [await cluster.addNode("node-a"), await cluster.addNode("node-b")] as const;
    for (const node of nodes) await prepare(lab, node, cluster.router);
    enforcers = await startEnforcers(lab, nodes, { mode: "psk", policy });
    const [here, there] = nodes;
    const add = (node: Node, name: string, app: string): Promise<Pod> =>
      node.addPod(name, { app }, { list: listOf(node, entry) });
    client = await add(here, "client", "client");
    servers = {
      "on the same node": await add(here, "near", "server"),
      "on another node": await add(there, "far", "server"),
    };
    for (const { namespace } of Object.values(servers)) {
      for (const port of [ALLOWED, DENIED]) await startEchoServer(lab, namespace, port);
    }
  }, 90_000);
  afterAll(() => lab.close());

  test.each(["on the same node", "on another node"] as const)("pods %s meet by policy", async (where) => {
    const server = servers[where];
    for (const address of [server.address, server.address6]) {
      expect((await connect(client.namespace, address, ALLOWED)).outcome, address).toBe("connected");
      const denied = await connect(client.namespace, address, DENIED, { timeoutMs: 700 });
      expect(denied.outcome, address).toBe("timeout");
    }
    const flows = await (where === "on the same node" ? enforcers[0] : enforcers[1])?.flows();
    const accepted = flows?.filter(({ verdict, rule }) => verdict === "allow" && rule === "servers/in") ?? [];
    expect(accepted.map(({ proof }) => proof)).toEqual(accepted.map(() => "token"));
    expect(accepted.length).toBeGreaterThanOrEqual(2);
  });

  test("whoever has no identity meets nobody, and no pod reaches a client", async () => {
    const { "on the same node": near, "on another node": far } = servers;
    for (const address of [near.address, near.address6, far.address]) {
      const stranger = await connect(far.node.namespace, address, ALLOWED, { timeoutMs: 700 });
      expect(stranger.outcome, address).not.toBe("connected");
    }
    expect((await connect(near.namespace, client.address, ALLOWED, { timeoutMs: 700 })).outcome).not.toBe(
      "connected",
    );
  });

  test("CHECK passes, and DEL leaves no rules and no link", async () => {
    await client.check();
    await client.chain.del(client.attachment, client.result);
    expect(await execOk(client.namespace, ["nft", "list", "ruleset"])).toBe("");
    expect(await execOk(client.namespace, ["ip", "-o", "link"])).not.toContain("eth0");
    await servers["on the same node"].check();
  });
});
