/**
 * Nodes and pods as namespaces: each node has a Linux address of its own, nodes are joined by a router (layer 3, no bridge), pods are
 * made by executing a real conflist inside their node.
 *
 *   pod ── eth0 (veth by ptp) ── node ── up0 ─────── n<index> ── router ── n<index> ─────── up0 ── node ── pod
 *   10.244.<i>.x, fd00:244:<i>::x    192.168.244.<4i+2>, fd00:99:<i>::2                     (i = index of the node)
 */
import { join } from "node:path";
import { cniPluginFolder, repository } from "./binaries.ts";
import {
  CniChain,
  type Attachment,
  type JsonObject,
  type NetworkList,
  type PluginEntry,
} from "./cni-chain.ts";
import { exec, execOk, namespacePath, type Lab } from "./lab.ts";
import type { CommandOptions, CommandResult } from "./command.ts";

/** Pod networks of the whole cluster: what `networks.pods` of the enforcer's config has to hold. */
export const podNetworks = ["10.244.0.0/16", "fd00:244::/32"];

const FORWARDING = [
  "net.ipv4.ip_forward=1",
  "net.ipv4.conf.all.rp_filter=0",
  "net.ipv4.conf.default.rp_filter=0",
  "net.ipv6.conf.all.forwarding=1",
  "net.ipv6.conf.all.accept_dad=0",
  "net.ipv6.conf.default.accept_dad=0",
];

export interface ListOptions {
  readonly cniVersion?: string;
  readonly name?: string;
  /** Our entry in the chain, less `type`; `undefined` leaves us out. */
  readonly trireme?: JsonObject | undefined;
  /** What comes after us in the chain. */
  readonly after?: readonly PluginEntry[];
  readonly families?: readonly (4 | 6)[];
}

/** Makes a cluster's router. */
export async function createCluster(lab: Lab): Promise<Cluster> {
  const router = await lab.addNamespace("router");
  await execOk(router, ["sysctl", "-qw", ...FORWARDING]);
  return new Cluster(lab, router);
}

export class Cluster {
  readonly lab: Lab;
  /** The router's namespace. */
  readonly router: string;
  readonly nodes: Node[] = [];

  constructor(lab: Lab, router: string) {
    this.lab = lab;
    this.router = router;
  }

  /** Makes a node and joins it to the router; every other node reaches it and its pods, in both families. */
  async addNode(name: string): Promise<Node> {
    const index = this.nodes.length + 1;
    const namespace = await this.lab.addNamespace(name);
    await execOk(namespace, ["sysctl", "-qw", ...FORWARDING]);
    await execOk(this.router, ["sysctl", "-qw", ...FORWARDING]);
    const port = `n${index}`;
    await this.lab.addVeth({ namespace, name: "up0" }, { namespace: this.router, name: port });
    const node = new Node(this.lab, name, namespace, index);
    const gateway = `192.168.244.${4 * index + 1}`;
    const batch = async (where: string, lines: readonly string[]) => {
      await execOk(where, ["ip", "-batch", "-"], { input: lines.join("\n") });
    };
    await batch(this.router, [
      `address add ${gateway}/30 dev ${port}`,
      `address add fd00:99:${index}::1/64 dev ${port} nodad`,
      `route add 10.244.${index}.0/24 via ${node.address}`,
      `route add fd00:244:${index}::/64 via ${node.address6}`,
    ]);
    await batch(namespace, [
      `address add ${node.address}/30 dev up0`,
      `address add ${node.address6}/64 dev up0 nodad`,
      `route add default via ${gateway}`,
      `route add default via fd00:99:${index}::1`,
    ]);
    this.nodes.push(node);
    return node;
  }
}

export class Node {
  readonly lab: Lab;
  readonly name: string;
  readonly namespace: string;
  readonly index: number;
  /** The node's own IPv4 and IPv6 address. */
  readonly address: string;
  readonly address6: string;
  /** A folder of the node's own for sockets, configuration, state and keys. */
  readonly folder: string;
  /** The control socket of this node's enforcer. */
  readonly socket: string;

  constructor(lab: Lab, name: string, namespace: string, index: number) {
    this.lab = lab;
    this.name = name;
    this.namespace = namespace;
    this.index = index;
    this.address = `192.168.244.${4 * index + 2}`;
    this.address6 = `fd00:99:${index}::2`;
    this.folder = join(lab.folder, name);
    this.socket = join(this.folder, "run", "enforcer.sock");
  }

  exec(argv: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    return exec(this.namespace, argv, options);
  }

  /** The node's conflist: Debian's ptp (ipMasq off) and host-local, dual stack, then us. */
  networkList(options: ListOptions = {}): NetworkList {
    const families = options.families ?? [4, 6];
    const ranges = [
      ...(families.includes(4) ? [[{ subnet: `10.244.${this.index}.0/24` }]] : []),
      ...(families.includes(6) ? [[{ subnet: `fd00:244:${this.index}::/64` }]] : []),
    ];
    const routes = [
      ...(families.includes(4) ? [{ dst: "0.0.0.0/0" }] : []),
      ...(families.includes(6) ? [{ dst: "::/0" }] : []),
    ];
    const ptp: PluginEntry = {
      type: "ptp",
      ipMasq: false,
      ipam: { type: "host-local", dataDir: join(this.folder, "ipam"), ranges, routes },
    };
    const us = options.trireme === undefined && "trireme" in options ? [] : [this.#ourEntry(options.trireme)];
    return {
      cniVersion: options.cniVersion ?? "1.0.0",
      name: options.name ?? "pods",
      plugins: [ptp, ...us, ...(options.after ?? [])],
    };
  }

  #ourEntry(entry: JsonObject | undefined): PluginEntry {
    return {
      type: "trireme-cni",
      socket: this.socket,
      capabilities: { "io.kubernetes.cri.pod-annotations": true },
      ...entry,
    };
  }

  /** Makes a pod: its namespace, and ADD through the list. When ADD fails, DELs as a runtime does, and throws PluginFailure. */
  async addPod(
    name: string,
    labels: Readonly<Record<string, string>>,
    options: PodOptions = {},
  ): Promise<Pod> {
    const namespace = await this.lab.addNamespace(name);
    const folders = options.pluginFolders ?? [join(repository, "build"), cniPluginFolder];
    const chain = new CniChain(options.list ?? this.networkList(options), this.namespace, folders);
    const attachment: Attachment = {
      containerId: options.containerId ?? namespace,
      netnsPath: namespacePath(namespace),
      ifname: "eth0",
      args: podArguments(name, labels, options),
      ...(options.runtimeConfig === undefined ? {} : { runtimeConfig: options.runtimeConfig }),
    };
    try {
      const result = await chain.add(attachment);
      const pod = new Pod(this, name, namespace, chain, attachment, result);
      this.lab.defer(() => pod.delete());
      return pod;
    } catch (error) {
      await chain.del(attachment).catch(() => undefined);
      await this.lab.removeNamespace(namespace);
      throw error;
    }
  }
}

export interface PodOptions extends ListOptions {
  /** Instead of the node's own list. */
  readonly list?: NetworkList;
  readonly pluginFolders?: readonly string[];
  readonly containerId?: string;
  readonly kubernetesNamespace?: string;
  readonly runtimeConfig?: JsonObject;
  /** CNI_ARGS, instead of those of a Kubernetes pod with TRIREME_LABELS. */
  readonly args?: string;
}

function podArguments(name: string, labels: Readonly<Record<string, string>>, options: PodOptions): string {
  if (options.args !== undefined) return options.args;
  const pairs = Object.entries(labels).map(([key, value]) => `${key}:${value}`);
  return [
    "IgnoreUnknown=1",
    `K8S_POD_NAMESPACE=${options.kubernetesNamespace ?? "default"}`,
    `K8S_POD_NAME=${name}`,
    ...(pairs.length > 0 ? [`TRIREME_LABELS=${pairs.join(",")}`] : []),
  ].join(";");
}

export class Pod {
  readonly node: Node;
  readonly name: string;
  readonly namespace: string;
  readonly attachment: Attachment;
  /** The result of ADD. */
  readonly result: JsonObject;
  readonly chain: CniChain;
  #deleted = false;

  constructor(
    node: Node,
    name: string,
    namespace: string,
    chain: CniChain,
    attachment: Attachment,
    result: JsonObject,
  ) {
    this.node = node;
    this.name = name;
    this.namespace = namespace;
    this.chain = chain;
    this.attachment = attachment;
    this.result = result;
  }

  /** Addresses without prefix length, in the order of the result. */
  get addresses(): string[] {
    const ips = (this.result["ips"] ?? []) as { address: string }[];
    return ips.map(({ address }) => address.split("/")[0] ?? "");
  }

  /** The first IPv4 address. */
  get address(): string {
    return this.addresses.find((address) => !address.includes(":")) ?? "";
  }

  /** The first IPv6 address. */
  get address6(): string {
    return this.addresses.find((address) => address.includes(":")) ?? "";
  }

  exec(argv: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    return exec(this.namespace, argv, options);
  }

  /** CHECKs the attachment; throws PluginFailure. */
  check(): Promise<void> {
    return this.chain.check(this.attachment, this.result);
  }

  /** DELs the attachment and removes the namespace; once. */
  async delete(): Promise<void> {
    if (this.#deleted) return;
    this.#deleted = true;
    await this.chain.del(this.attachment, this.result);
    await this.node.lab.removeNamespace(this.namespace);
  }
}
