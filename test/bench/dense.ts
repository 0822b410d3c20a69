/** 250 pods on one enforcer: how long each attachment takes, what it costs in latency, and how much memory the enforcer needs. */
import { join } from "node:path";
import { CniChain, type Attachment, type JsonObject } from "../harness/cni-chain.ts";
import { cniPluginFolder, repository } from "../harness/binaries.ts";
import { createCluster, type Node, type Pod } from "../harness/cluster.ts";
import { run, runOk } from "../harness/command.ts";
import { namespacePath, type Lab } from "../harness/lab.ts";
import { startEnforcers } from "../integration/pair.ts";
import { prepareForLoad, type Contestant } from "./contestants.ts";
import { residentMb } from "./process-cost.ts";
import { runLoad, startLoadServer } from "./programs.ts";
import type { BenchRecord } from "./record.ts";

export interface DensePlan {
  readonly pods: number;
  readonly rounds: number;
  readonly seconds: number;
  /** How long the enforcer works at its full rate before its memory is read again. */
  readonly floodSeconds: number;
}

const AT_ONCE = 4;
const TIMED = 20;
const COUNT_MAX = 6_000_000;
const PORTS = 1;

interface DensePod {
  readonly namespace: string;
  readonly address: string;
  readonly attachment: Attachment;
  readonly result: JsonObject;
}

interface DenseNode {
  readonly client: Pod;
  readonly pods: readonly DensePod[];
  /** Of the first pods and of the last ones, in ms. */
  readonly attachMs: { readonly first: readonly number[]; readonly last: readonly number[] };
  readonly pid: number;
}

/** `pair` is the contestant with the same enforcer and one pod a node, which the latency is compared with. */
export async function measureDense(
  lab: Lab,
  record: BenchRecord,
  pair: Contestant,
  plan: DensePlan,
): Promise<void> {
  const dense = await buildDenseNode(lab, plan.pods);
  recordAttachments(record, dense);
  const mb = residentMb(dense.pid);
  record.atMost(`RSS of the enforcer with ${plan.pods} pods, MB`, mb, 120);
  await measureLatency(record, dense, pair, plan);
  await flood(record, dense, plan);
}

async function buildDenseNode(lab: Lab, count: number): Promise<DenseNode> {
  const cluster = await createCluster(lab);
  const nodes = [await cluster.addNode("node-a"), await cluster.addNode("node-b")] as const;
  const [, enforcer] = await startEnforcers(lab, nodes, { mode: "pki" });
  const client = await nodes[0].addPod("client", { app: "client" });
  const pods = await addBarePods(lab, nodes[1], count);
  const attachMs = await attachAll(nodes[1], pods);
  await prepareForLoad([client.namespace]);
  await startLoadServer(
    lab,
    pods.map(({ namespace }) => namespace),
    PORTS,
  );
  if (enforcer?.pid === undefined) throw new Error("the enforcer isn't running");
  return { client, pods, attachMs, pid: enforcer.pid };
}

/** Makes one namespace with its veth pair, as ptp would: $1 the node's namespace, $2 its gateway, then pairs of name and address. */
const addScript = `set -e
node=$1 gateway=$2
shift 2
index=0
while [ $# -gt 0 ]; do
  ip netns add "$1"
  ip -n "$node" link add "d$index" type veth peer name eth0 netns "$1"
  printf '%s\\n' "link set d$index up" "address add $gateway/32 dev d$index" "route add $2/32 dev d$index" |
    ip -n "$node" -batch -
  printf '%s\\n' "link set lo up" "link set eth0 up" "address add $2/32 dev eth0" "route add $gateway dev eth0" \
    "route add default via $gateway" | ip -n "$1" -batch -
  index=$((index + 1))
  shift 2
done
`;

/** All by one shell: 250 pods take a few seconds so, and ten times as long by ptp. */
async function addBarePods(lab: Lab, node: Node, count: number): Promise<DensePod[]> {
  const pods = Array.from({ length: count }, (_, index) => describePod(lab, node, index));
  const names = pods.map(({ namespace }) => namespace);
  lab.defer(async () => {
    await run(["sh", "-c", 'for name; do ip netns del "$name"; done', "sh", ...names]);
  });
  const argv = pods.flatMap(({ namespace, address }) => [namespace, address]);
  await runOk(["sh", "-c", addScript, "sh", node.namespace, `10.244.${node.index}.1`, ...argv]);
  return pods;
}

function describePod(lab: Lab, node: Node, index: number): DensePod {
  const namespace = `${lab.id}-d${index}`;
  const address = `10.244.${node.index}.${index + 2}`;
  const gateway = `10.244.${node.index}.1`;
  const netnsPath = namespacePath(namespace);
  const attachment = {
    containerId: namespace,
    netnsPath,
    ifname: "eth0",
    args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=d${index};TRIREME_LABELS=app:dense,number:n${index}`,
  };
  const result = {
    cniVersion: "1.0.0",
    interfaces: [{ name: `d${index}` }, { name: "eth0", sandbox: netnsPath }],
    ips: [{ address: `${address}/32`, gateway, interface: 1 }],
    routes: [{ dst: "0.0.0.0/0" }],
  };
  return { namespace, address, attachment, result };
}

/** The first and the last pods one by one, so that their times can be compared; those between, several at once. */
async function attachAll(node: Node, pods: readonly DensePod[]): Promise<DenseNode["attachMs"]> {
  const timed = Math.min(TIMED, Math.floor(pods.length / 3));
  const first = await attachInTurn(node, pods.slice(0, timed));
  for (let from = timed; from < pods.length - timed; from += AT_ONCE) {
    const slice = pods.slice(from, Math.min(from + AT_ONCE, pods.length - timed));
    await Promise.all(slice.map((pod) => attach(node, pod)));
  }
  return { first, last: await attachInTurn(node, pods.slice(-timed)) };
}

async function attachInTurn(node: Node, pods: readonly DensePod[]): Promise<number[]> {
  const times: number[] = [];
  for (const pod of pods) times.push(await attach(node, pod));
  return times;
}

/** ADD of our plugin alone, as a runtime executes it; how long it took, in ms. */
async function attach(node: Node, { attachment, result }: DensePod): Promise<number> {
  const list = node.networkList();
  const us = list.plugins.find(({ type }) => type === "trireme-cni");
  if (us === undefined) throw new Error("we aren't in the list");
  const chain = new CniChain(list, node.namespace, [join(repository, "build"), cniPluginFolder]);
  const begun = performance.now();
  const { status, stdout, stderr } = await chain.run("ADD", us, attachment, result);
  if (status !== 0) throw new Error(`ADD ${attachment.containerId}: ${stdout}${stderr}`);
  return performance.now() - begun;
}

function recordAttachments(record: BenchRecord, { attachMs, pods }: DenseNode): void {
  const measure = { title: "ADD of our plugin alone", unit: "ms", against: ["first pods"] };
  for (const ms of attachMs.first) record.add("attach", measure, "first pods", ms);
  for (const ms of attachMs.last) record.add("attach", measure, `last of ${pods.length} pods`, ms);
}

async function measureLatency(
  record: BenchRecord,
  { client, pods }: DenseNode,
  pair: Contestant,
  { rounds, seconds }: DensePlan,
): Promise<void> {
  const measure = { title: "connect p50, 1 connection, PKI", unit: "µs", against: ["1 pod"] };
  const addresses = pods.map(({ address }) => address);
  const options = { concurrency: 1, count: COUNT_MAX, seconds };
  // Every pair meets for the first time here; only 50 verifications a second are done for one source.
  await runLoad(client.namespace, addresses, {
    ...options,
    seconds: 30,
    count: pods.length * 2,
    ports: PORTS,
  });
  for (let round = 0; round < rounds; round++) {
    const one = await runLoad(pair.client.namespace, [pair.server.address], options);
    const many = await runLoad(client.namespace, addresses, { ...options, ports: PORTS });
    if (many.done !== many.begun)
      throw new Error(`${many.begun - many.done} connections to ${pods.length} pods failed`);
    record.add("dense", measure, "1 pod", one.connectUs.p50);
    record.add("dense", measure, `${pods.length} pods in turn`, many.connectUs.p50);
  }
}

async function flood(record: BenchRecord, { client, pods, pid }: DenseNode, plan: DensePlan): Promise<void> {
  const addresses = pods.map(({ address }) => address);
  const options = { concurrency: 32, count: COUNT_MAX, seconds: plan.floodSeconds, ports: PORTS };
  const { done, begun, seconds } = await runLoad(client.namespace, addresses, options);
  const mb = residentMb(pid);
  record.atMost(`RSS right after ${plan.floodSeconds} s at full rate, MB`, mb, 160);
  const rate = (done / seconds).toFixed(0);
  record.remark(
    `flood: ${done} of ${begun} connections in ${seconds.toFixed(0)} s (${rate}/s) to ${pods.length} pods`,
  );
}
