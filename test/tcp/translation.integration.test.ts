/**
 * Addresses that are rewritten on the way: sources by a translator that the configuration lists and by one that it doesn't, and a Service
 * address by the client's node, as kube-proxy does it, with a router behind it that drops what its conntrack calls invalid.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject } from "../harness/cni-chain.ts";
import { podNetworks } from "../harness/cluster.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { accept, close, exchange } from "./sockets.ts";
import { families, SocketStage, type Family } from "./socket-stage.ts";
import { countingRules, dropTable, putTable, tableCounters } from "./tables.ts";

const PORT = 8080;
const VIP = { address: "10.96.0.10", address6: "fd00:96::10" } as const;
const VIP_PORT = 80;
/** The router's addresses towards the server's node. */
const routerTo = { address: "192.168.244.9", address6: "fd00:99:2::1" } as const;

/** A source leaves by `device` as `to`. */
const snat = (device: string, to: Record<Family, string>): string => `counter rewritten {}
  chain leave {
    type nat hook postrouting priority srcnat
    oifname ${device} tcp dport ${PORT} ip version 4 counter name rewritten snat ip to ${to.address}
    oifname ${device} tcp dport ${PORT} ip6 version 6 counter name rewritten snat ip6 to ${to.address6}
  }`;

const service = (server: Record<Family, string>): string => `counter translated {}
  chain dial {
    type nat hook prerouting priority dstnat
    ip daddr ${VIP.address} tcp dport ${VIP_PORT} counter name translated dnat ip to ${server.address}:${PORT}
    ip6 daddr ${VIP.address6} tcp dport ${VIP_PORT} counter name translated dnat ip6 to [${server.address6}]:${PORT}
  }`;

/** A router that is strict about what it forwards. */
const strict = `counter invalid {}
  chain strict {
    type filter hook forward priority 0
    ct state invalid counter name invalid drop
  }`;

describe.each(["psk", "pki"] as const)("translated addresses, mode %s", (mode) => {
  const lab = new Lab();
  let stage: SocketStage;
  let nodeA: { readonly namespace: string; readonly address: string; readonly address6: string };

  beforeAll(async () => {
    const networks = {
      pods: podNetworks,
      services: ["10.96.0.0/12", "fd00:96::/108"],
      translators: ["192.168.244.6", "fd00:99:1::2"],
    };
    stage = await SocketStage.build(lab, { mode, config: { networks } });
    nodeA = stage.pair.clientEnforcer.node;
    expect([nodeA.address, nodeA.address6]).toEqual(networks.translators);
    const { router } = stage.pair.cluster;
    await execOk(router, ["sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_be_liberal=0"]);
    await putTable(router, "strict", strict);
    await stage.listen(PORT);
  }, 60_000);
  afterAll(() => lab.close());

  async function counter(namespace: string, table: string, name: string): Promise<number> {
    return (await tableCounters(namespace, table))[name] ?? 0;
  }

  /** Connects and exchanges data, and nothing of it is invalid to the router. Gives the source that the server sees. */
  async function carry(host: string, port: number): Promise<string> {
    const dialled = await stage.dial(host, port);
    const connection = await stage.accept(dialled, PORT);
    await stage.expectAuthorised(connection);
    await close(connection);
    expect(await counter(stage.pair.cluster.router, "strict", "invalid")).toBe(0);
    return connection.server.flow.client.address;
  }

  describe("a source rewritten by a translator that is listed", () => {
    beforeAll(() => putTable(nodeA.namespace, "sources", snat("up0", nodeA)));
    afterAll(() => dropTable(nodeA.namespace, "sources"));

    test.each(families)("connects, and the server sees the translator, by %s", async (family) => {
      const before = await counter(nodeA.namespace, "sources", "rewritten");
      expect(await carry(stage.pair.server[family], PORT)).toBe(nodeA[family]);
      expect(await counter(nodeA.namespace, "sources", "rewritten")).toBe(before + 1);
    });

    test.each(families)("also to a Service address, by %s", async (family) => {
      await putTable(nodeA.namespace, "service", service(stage.pair.server));
      expect(await carry(VIP[family], VIP_PORT)).toBe(nodeA[family]);
      expect(await counter(nodeA.namespace, "service", "translated")).toBe(1);
      await dropTable(nodeA.namespace, "service");
    });
  });

  describe("a source rewritten by one that isn't listed", () => {
    beforeAll(() => putTable(stage.pair.cluster.router, "sources", snat("n2", routerTo)));
    afterAll(() => dropTable(stage.pair.cluster.router, "sources"));

    test.each(families)(
      "is refused at once with the reason, and the server accepts nothing, by %s",
      async (family) => {
        const { client, clientEnforcer, cluster, server } = stage.pair;
        const before = await counter(cluster.router, "sources", "rewritten");
        expect(await stage.client.ask(`connect refused-${family} ${server[family]} ${PORT}`)).toBe(
          "error ECONNREFUSED",
        );
        expect(await counter(cluster.router, "sources", "rewritten")).toBe(before + 1);
        expect(await stage.server.ask(`accept ${PORT} none now`)).toBe("error EAGAIN");
        const record = (await clientEnforcer.flows()).findLast(
          ({ destination }) => (destination as JsonObject)["address"] === server[family],
        );
        expect(record).toMatchObject({
          verdict: "deny",
          reason: "address-relayed",
          source: { address: client[family] },
        });
      },
    );
  });

  describe("a Service address, translated by the client's node", () => {
    beforeAll(() => putTable(nodeA.namespace, "service", service(stage.pair.server)));
    afterAll(() => dropTable(nodeA.namespace, "service"));

    test.each(families)("connects through a router that drops what is invalid, by %s", async (family) => {
      const { client, cluster, server } = stage.pair;
      const passed = `ct state new tcp dport ${PORT}`;
      await putTable(cluster.router, "watch", countingRules("forward", 10, { passed }));
      const before = await counter(nodeA.namespace, "service", "translated");
      expect(await carry(VIP[family], VIP_PORT)).toBe(client[family]);
      expect(await counter(nodeA.namespace, "service", "translated")).toBe(before + 1);
      expect(await counter(cluster.router, "watch", "passed")).toBeGreaterThan(0);
      const record = (await stage.pair.clientEnforcer.flows()).at(-1);
      expect(record).toMatchObject({
        verdict: "allow",
        destination: { address: VIP[family], port: VIP_PORT, attributes: { app: "server" } },
      });
      expect(server[family]).not.toBe(VIP[family]);
    });
  });

  describe("a Service of which the client itself is the server", () => {
    /** Back to the pod that it came from goes only what has another source: so does kube-proxy. */
    const hairpin = (
      pod: Record<Family, string>,
      node: Record<Family, string>,
    ): string => `counter returned {}
      ${service(pod)}
      chain leave {
        type nat hook postrouting priority srcnat
        ct status dnat ip saddr ${pod.address} ip daddr ${pod.address} counter name returned snat ip to ${node.address}
        ct status dnat ip6 saddr ${pod.address6} ip6 daddr ${pod.address6} counter name returned snat ip6 to ${node.address6}
      }`;

    beforeAll(async () => {
      await putTable(nodeA.namespace, "service", hairpin(stage.pair.client, nodeA));
      await stage.client.ok(`listen own ${PORT} 16`);
    });
    afterAll(() => dropTable(nodeA.namespace, "service"));

    test.each(families)("connects to it as to any other, by %s", async (family) => {
      const before = await counter(nodeA.namespace, "service", "returned");
      const dialling = stage.sockets(stage.pair.client.namespace);
      const { name } = await stage.dialFrom(dialling, VIP[family], VIP_PORT);
      const { from } = await accept(stage.client, "own", name);
      expect(from.address).toBe(nodeA[family]);
      const connection = { client: { sockets: dialling, name }, server: { sockets: stage.client, name } };
      await exchange(connection, 1_000);
      const crossings = stage.clientKernel.crossings();
      await exchange(connection, 50_000);
      expect(stage.clientKernel.crossings()).toEqual(crossings);
      await close(connection);
      expect(await counter(nodeA.namespace, "service", "returned")).toBe(before + 1);
    });
  });
});
