/** The stage of most integration tests: two nodes with an enforcer each, and one pod on each. */
import { createAuthority } from "../harness/authority.ts";
import { createCluster, type Cluster, type Node, type Pod } from "../harness/cluster.ts";
import type { JsonObject } from "../harness/cni-chain.ts";
import { Enforcer, newPsk } from "../harness/enforcer.ts";
import type { Lab } from "../harness/lab.ts";

export type Mode = "psk" | "pki";

/** Everybody may connect to everybody. */
const allowAll = `version: 1
policies:
  - name: all
    subject: {}
    ingress: [{ name: in, action: allow, from: [{}] }]
    egress: [{ name: out, action: allow, to: [{}] }]
`;

export interface PairOptions {
  readonly mode: Mode;
  readonly policy?: string;
  /** Of the enforcers' configuration. */
  readonly config?: JsonObject;
  /** `ADDRESS:PORT` for /metrics, in each node's namespace. */
  readonly metrics?: string;
  readonly clientLabels?: Readonly<Record<string, string>>;
  readonly serverLabels?: Readonly<Record<string, string>>;
}

/** A client's pod on node-a and a server's on node-b. */
export interface Pair {
  readonly cluster: Cluster;
  readonly clientEnforcer: Enforcer;
  readonly serverEnforcer: Enforcer;
  readonly client: Pod;
  readonly server: Pod;
}

export async function createPair(lab: Lab, options: PairOptions): Promise<Pair> {
  const cluster = await createCluster(lab);
  const nodes = [await cluster.addNode("node-a"), await cluster.addNode("node-b")];
  const [clientEnforcer, serverEnforcer] = await startEnforcers(lab, nodes, options);
  if (clientEnforcer === undefined || serverEnforcer === undefined)
    throw new Error("two nodes were asked for");
  const client = await clientEnforcer.node.addPod("client", options.clientLabels ?? { app: "client" });
  const server = await serverEnforcer.node.addPod("server", options.serverLabels ?? { app: "server" });
  return { cluster, clientEnforcer, serverEnforcer, client, server };
}

/** Starts an enforcer on each node, with keys of one cluster. */
export async function startEnforcers(
  lab: Lab,
  nodes: readonly Node[],
  options: PairOptions,
): Promise<Enforcer[]> {
  const { mode, policy = allowAll, config = {}, metrics } = options;
  const psk = newPsk();
  const authority = mode === "pki" ? await createAuthority(lab) : undefined;
  const settings = { config: { ...config, mode }, ...(metrics === undefined ? {} : { metrics }) };
  const enforcers = nodes.map((node) => new Enforcer(node, settings));
  for (const enforcer of enforcers) {
    if (authority === undefined) enforcer.writePsk(psk);
    else await authority.issue(enforcer);
    enforcer.writePolicy(policy);
    await enforcer.start();
  }
  return enforcers;
}
