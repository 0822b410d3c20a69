/**
 * Small windows on the way through a router that translates a Service address and drops what its conntrack calls invalid, with
 * nf_conntrack_tcp_be_liberal off. Counters in every namespace say which windows were seen where.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeBinary } from "../harness/binaries.ts";
import { podNetworks } from "../harness/cluster.ts";
import { waitFor } from "../harness/command.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { connectTimes, startEchoServer } from "../harness/traffic.ts";
import { manyLabels } from "./labels.ts";
import { createPair, type Pair } from "./pair.ts";

const PORT = 8080;
const VIP = { address: "10.96.0.10", address6: "fd00:96::10" } as const;
const RAISED = 1460;

/** Counters of openings, by what their window says; on the router also translation and the drop of what is invalid. */
const openings = (chain: string, window: number): string => `
  counter raised {}
  counter small {}
  counter offered {}
  chain ${chain} {
    type filter hook prerouting priority 0
    tcp flags & (syn|rst) == syn tcp window ${RAISED} counter name raised
    tcp flags & (syn|rst) == syn tcp window < ${RAISED} counter name small
    tcp flags & (syn|rst) == syn tcp window ${window} counter name offered
  }`;

const routerRules = (pair: Pair, window: number): string => `
table inet watch {
  counter invalid {}
  ${openings("seen", window)}
  chain translate {
    type nat hook prerouting priority dstnat
    ip daddr ${VIP.address} tcp dport ${PORT} dnat ip to ${pair.server.address}:${PORT}
    ip6 daddr ${VIP.address6} tcp dport ${PORT} dnat ip6 to [${pair.server.address6}]:${PORT}
  }
  chain forward {
    type filter hook forward priority 0
    ct state invalid counter name invalid drop
  }
}`;

async function counters(namespace: string): Promise<Record<string, number>> {
  const text = await execOk(namespace, ["nft", "-j", "list", "counters", "table", "inet", "watch"]);
  const { nftables } = JSON.parse(text) as { nftables: { counter?: { name: string; packets: number } }[] };
  return Object.fromEntries(
    nftables.flatMap(({ counter }) => (counter ? [[counter.name, counter.packets]] : [])),
  );
}

/** What the stack offers at first, and the receive buffer that makes it do so; in bytes. */
const sizes = [
  { window: 536, buffer: 1072 },
  { window: 1024, buffer: 2048 },
];

describe.each(sizes)("windows of $window bytes behind a Service address", ({ window, buffer }) => {
  const lab = new Lab();
  let pair: Pair;

  beforeAll(async () => {
    pair = await createPair(lab, {
      mode: "pki",
      clientLabels: manyLabels(20),
      serverLabels: manyLabels(20),
      config: { networks: { pods: podNetworks, services: ["10.96.0.0/12", "fd00:96::/108"] } },
    });
    const { cluster, client, server } = pair;
    const load = (namespace: string, rules: string): Promise<string> =>
      execOk(namespace, ["nft", "-f", "-"], { input: rules });
    await load(cluster.router, routerRules(pair, window));
    await execOk(cluster.router, ["sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_be_liberal=0"]);
    for (const { namespace } of [client, server]) {
      await load(namespace, `table inet watch {${openings("seen", window)}\n}`);
      await execOk(namespace, ["sysctl", "-qw", `net.ipv4.tcp_rmem=${buffer} ${buffer} ${buffer}`]);
    }
    await startEchoServer(lab, server.namespace, PORT);
  }, 60_000);
  afterAll(() => lab.close());

  test.each(["address", "address6"] as const)(
    "connect and exchange data, by %s, and nothing is invalid",
    async (family) => {
      const { client, cluster, server } = pair;
      const before = await counters(cluster.router);
      const attempts = await connectTimes(client.namespace, VIP[family], PORT, { times: 5, bytes: 400 });
      expect(attempts).toMatchObject(attempts.map(() => ({ outcome: "connected", echoed: 400 })));
      const after = await counters(cluster.router);
      expect(after["invalid"]).toBe(0);
      expect((after["raised"] ?? 0) - (before["raised"] ?? 0)).toBeGreaterThanOrEqual(10);
      expect(after["small"]).toBe(0);
      for (const { namespace } of [client, server]) {
        const { offered = 0, small } = await counters(namespace);
        expect(offered).toBeGreaterThanOrEqual(5);
        expect(small).toBe(offered);
      }
    },
  );

  test.each(["address", "address6"] as const)(
    "the router holds an idle connection for established, by %s",
    async (family) => {
      const { client, cluster } = pair;
      const idle = `require("node:net").connect(${PORT}, "${VIP[family]}", () => console.log("ready"));`;
      const talker = lab.start(client.namespace, [nodeBinary, "-e", idle]);
      await talker.waitForOutput(/ready/);
      const states = async (): Promise<string[]> => {
        const list = ["conntrack", "-L", "-p", "tcp", "-f", family === "address" ? "ipv4" : "ipv6"];
        const lines = (await execOk(cluster.router, [...list, "--orig-dst", VIP[family]])).split("\n");
        return lines.flatMap((line) => /^tcp\s+6\s+\d+\s+(\w+)/.exec(line)?.[1] ?? []);
      };
      await waitFor("an established entry", async () => (await states()).includes("ESTABLISHED"), 3_000);
      expect(await states()).not.toContain("SYN_RECV");
      await talker.stop();
    },
  );
});
