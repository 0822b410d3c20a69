/**
 * What is compared: the same two nodes behind a router, a client's pod and a server's, with the same load generator, for each
 *
 *   none       no rule anywhere
 *   conntrack  an nftables table with `ct state` in both pods
 *   reader     our rule set, read by accept-all.c: one process for each node
 *   psk, pki   our rule set and our enforcer, as shipped
 */
import { closeFd, openNetns } from "../../netlink/netns.ts";
import { Nftables } from "../../netlink/nftables/nftables.ts";
import { renderRuleSet } from "../../plugin/rule-set.ts";
import { createCluster, type Cluster, type Pod } from "../harness/cluster.ts";
import { execOk, Lab, namespacePath } from "../harness/lab.ts";
import type { Enforcer } from "../harness/enforcer.ts";
import { createPair } from "../integration/pair.ts";
import { startLoadServer, startReader } from "./programs.ts";

const markMask = 0xfff00000;

export interface Contestant {
  readonly name: string;
  readonly lab: Lab;
  readonly cluster: Cluster;
  readonly client: Pod;
  readonly server: Pod;
  /** The processes that queues are read by, of both nodes. */
  readonly readers: readonly number[];
  readonly enforcers: readonly Enforcer[];
  /** The process of the iperf3 server. */
  readonly iperf: number;
}

type Bare = Omit<Contestant, "name" | "lab" | "iperf">;

const makers: Readonly<Record<string, (lab: Lab) => Promise<Bare>>> = {
  none: plainPair,
  conntrack: conntrackPair,
  reader: readerPair,
  psk: (lab) => enforcedPair(lab, "psk"),
  pki: (lab) => enforcedPair(lab, "pki"),
};

/** Makes all contestants, calls `body`, and removes them whatever happens. */
export async function withContestants(
  body: (contestants: readonly Contestant[]) => Promise<void>,
): Promise<void> {
  const contestants: Contestant[] = [];
  const labs: Lab[] = [];
  try {
    for (const [name, make] of Object.entries(makers)) {
      const lab = new Lab();
      labs.push(lab);
      const bare = await make(lab);
      await prepareForLoad([bare.client.namespace, bare.server.namespace]);
      await startLoadServer(lab, [bare.server.namespace]);
      const iperf = lab.start(bare.server.namespace, ["iperf3", "--server", "--forceflush"]);
      await iperf.waitForOutput(/listening/);
      contestants.push({ name, lab, ...bare, iperf: iperf.pid ?? 0 });
    }
    await body(contestants);
  } finally {
    for (const lab of labs) await lab.close();
  }
}

/** In each round the order is turned by one. */
export function* interleaved(
  contestants: readonly Contestant[],
  rounds: number,
): Generator<{ round: number; contestant: Contestant }> {
  for (let round = 0; round < rounds; round++) {
    for (let index = 0; index < contestants.length; index++) {
      const contestant = contestants[(index + round) % contestants.length];
      if (contestant !== undefined) yield { round, contestant };
    }
  }
}

/** Connections by the ten thousand: entries of closed ones must not fill conntrack, nor closed sockets the port range. */
export async function prepareForLoad(namespaces: readonly string[]): Promise<void> {
  const settings = [
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait=1",
    "net.ipv4.ip_local_port_range=1024 65000",
  ];
  for (const namespace of namespaces) await execOk(namespace, ["sysctl", "-qw", ...settings]);
}

async function plainPair(lab: Lab): Promise<Bare> {
  const cluster = await createCluster(lab);
  const nodes = [await cluster.addNode("node-a"), await cluster.addNode("node-b")] as const;
  const client = await nodes[0].addPod("client", {}, { trireme: undefined });
  const server = await nodes[1].addPod("server", {}, { trireme: undefined });
  return { cluster, client, server, readers: [], enforcers: [] };
}

const conntrackRules = `table inet bench {
  chain in {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
    ct state new accept
  }
  chain out {
    type filter hook output priority 0; policy drop;
    oifname "lo" accept
    ct state established,related accept
    ct state new accept
  }
}
`;

async function conntrackPair(lab: Lab): Promise<Bare> {
  const pair = await plainPair(lab);
  for (const pod of [pair.client, pair.server])
    await execOk(pod.namespace, ["nft", "-f", "-"], { input: conntrackRules });
  return pair;
}

export async function readerPair(lab: Lab): Promise<Bare> {
  const pair = await plainPair(lab);
  const readers: number[] = [];
  for (const pod of [pair.client, pair.server]) {
    installRules(pod);
    const reader = await startReader(lab, [pod.namespace]);
    if (reader.pid !== undefined) readers.push(reader.pid);
  }
  return { ...pair, readers };
}

function installRules(pod: Pod): void {
  const netns = openNetns(namespacePath(pod.namespace));
  const nftables = Nftables.open({ netns });
  try {
    const egress = {
      seal: 0x7365616c,
      addresses: [Uint8Array.from(pod.address.split("."), Number)],
      linkLocals: [],
    };
    nftables.replace(renderRuleSet({ interfaceNames: ["eth0"], markMask, onLinkPrefixes6: [], egress }));
  } finally {
    nftables.close();
    closeFd(netns);
  }
}

async function enforcedPair(lab: Lab, mode: "psk" | "pki"): Promise<Bare> {
  const { cluster, client, server, clientEnforcer, serverEnforcer } = await createPair(lab, { mode });
  const enforcers = [clientEnforcer, serverEnforcer];
  return { cluster, client, server, readers: enforcers.flatMap(({ pid }) => pid ?? []), enforcers };
}
