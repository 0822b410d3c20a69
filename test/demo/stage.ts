/** The demo's cluster: two nodes with an enforcer each, joined by a router, and pods made by a real conflist. */
import { copyFileSync } from "node:fs";
import { createAuthority } from "../harness/authority.ts";
import { createCluster, type Cluster, type Node, type Pod } from "../harness/cluster.ts";
import { Enforcer } from "../harness/enforcer.ts";
import type { Lab } from "../harness/lab.ts";
import { startEchoServer } from "../harness/traffic.ts";

/** One pod of the demo: where it runs, its labels, and the port that it serves. */
export interface Role {
  readonly name: string;
  readonly node: "node-a" | "node-b";
  readonly labels: Readonly<Record<string, string>>;
  readonly port: number;
}

const roles: readonly Role[] = [
  { name: "web", node: "node-a", labels: { app: "web" }, port: 80 },
  { name: "app", node: "node-b", labels: { app: "app" }, port: 8080 },
  { name: "db", node: "node-a", labels: { app: "db" }, port: 5432 },
  { name: "guest", node: "node-b", labels: { app: "guest" }, port: 9000 },
];

export interface Actor {
  readonly role: Role;
  readonly pod: Pod;
  readonly enforcer: Enforcer;
}

export interface Stage {
  readonly cluster: Cluster;
  readonly enforcers: readonly Enforcer[];
  readonly actors: readonly Actor[];
}

/** Builds it all; every step that takes time is announced through `say`. */
export async function buildStage(lab: Lab, policyFile: string, say: (line: string) => void): Promise<Stage> {
  const cluster = await createCluster(lab);
  const nodes = new Map<string, Node>();
  for (const name of ["node-a", "node-b"]) nodes.set(name, await cluster.addNode(name));
  const enforcers = await startEnforcers([...nodes.values()], lab, policyFile);
  say(
    "Two nodes, each with an enforcer and a node key certified by one cluster CA; between them only a router.",
  );
  const actors: Actor[] = [];
  for (const role of roles) {
    const node = need(nodes.get(role.node), role.node);
    const enforcer = need(
      enforcers.find((candidate) => candidate.node === node),
      role.node,
    );
    const pod = await node.addPod(role.name, role.labels);
    await startEchoServer(lab, pod.namespace, role.port);
    actors.push({ role, pod, enforcer });
  }
  say("Four pods, made by the conflist ptp + host-local, then trireme-cni:");
  return { cluster, enforcers, actors };
}

async function startEnforcers(nodes: readonly Node[], lab: Lab, policyFile: string): Promise<Enforcer[]> {
  const authority = await createAuthority(lab);
  const enforcers: Enforcer[] = [];
  for (const node of nodes) {
    const enforcer = new Enforcer(node, { config: { mode: "pki" } });
    await authority.issue(enforcer);
    copyFileSync(policyFile, enforcer.policyFile);
    await enforcer.start();
    enforcers.push(enforcer);
  }
  return enforcers;
}

function need<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`${what} is missing`);
  return value;
}
