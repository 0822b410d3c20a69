/** What a plugin adds to ADD and DEL of a pod: the same chain with and without it, ours beside the reference plugin `portmap`. */
import { join } from "node:path";
import { cniPluginFolder, repository } from "../harness/binaries.ts";
import { sleep } from "../harness/command.ts";
import { CniChain, type Attachment, type PluginEntry } from "../harness/cni-chain.ts";
import { createCluster, type ListOptions, type Node } from "../harness/cluster.ts";
import { namespacePath, type Lab } from "../harness/lab.ts";
import { startEnforcers } from "../integration/pair.ts";
import type { BenchRecord } from "./record.ts";
import { median } from "./statistics.ts";

/** A namespace is taken apart by the kernel's workers after it has been removed, which would disturb the next chain's ADD. */
const REMOVAL_MS = 150;

const portmap: PluginEntry = { type: "portmap", capabilities: { portMappings: true } };

const chains: Readonly<Record<string, ListOptions>> = {
  ptp: { trireme: undefined },
  "ptp, portmap": { trireme: undefined, after: [portmap] },
  "ptp, trireme-cni": {},
};

export async function measurePlugin(lab: Lab, record: BenchRecord, rounds: number): Promise<void> {
  const cluster = await createCluster(lab);
  const node = await cluster.addNode("node-a");
  await startEnforcers(lab, [node], { mode: "pki" });
  // Round 0 reads the binaries into the page cache.
  const order = Object.entries(chains);
  for (let round = 0; round <= rounds; round++) {
    for (const [name, options] of order) {
      const { addMs, delMs } = await attachOnce(lab, node, { families: [4], ...options }, round);
      if (round === 0) continue;
      record.add("add", { title: "ADD of the chain", unit: "ms", against: ["ptp"] }, name, addMs);
      record.add("del", { title: "DEL of the chain", unit: "ms", against: ["ptp"] }, name, delMs);
    }
    order.push(...order.splice(0, 1));
  }
  recordDifferences(record);
}

function recordDifferences(record: BenchRecord): void {
  const added = (key: string, name: string) =>
    median(record.values(key, name)) - median(record.values(key, "ptp"));
  for (const key of ["add", "del"]) {
    const ours = added(key, "ptp, trireme-cni");
    const theirs = added(key, "ptp, portmap");
    const ratio = (ours / theirs).toFixed(2);
    record.remark(
      `${key.toUpperCase()} adds ${ours.toFixed(1)} ms with us, ${theirs.toFixed(1)} ms with portmap: x ${ratio}`,
    );
  }
  record.atMost("ADD, median with us minus without, ms", added("add", "ptp, trireme-cni"), 30);
}

async function attachOnce(
  lab: Lab,
  node: Node,
  options: ListOptions,
  round: number,
): Promise<{ addMs: number; delMs: number }> {
  const namespace = await lab.addNamespace("cost");
  const folders = [join(repository, "build"), cniPluginFolder];
  // portmap looks for iptables.
  const environment = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };
  const chain = new CniChain(node.networkList(options), node.namespace, folders, environment);
  const attachment: Attachment = {
    containerId: `cost-${round}`,
    netnsPath: namespacePath(namespace),
    ifname: "eth0",
    args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=cost;TRIREME_LABELS=app:cost",
    runtimeConfig: { portMappings: [{ hostPort: 8_000 + round, containerPort: 80, protocol: "tcp" }] },
  };
  const begun = performance.now();
  const result = await chain.add(attachment);
  const added = performance.now();
  await chain.del(attachment, result);
  const addMs = added - begun;
  const delMs = performance.now() - added;
  await lab.removeNamespace(namespace);
  await sleep(REMOVAL_MS);
  return { addMs, delMs };
}
