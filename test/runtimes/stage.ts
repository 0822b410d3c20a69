/** One node with an enforcer, for runtimes to make pods on; and what tests ask about those pods. */
import { createCluster, type Node } from "../harness/cluster.ts";
import type { JsonObject } from "../harness/cni-chain.ts";
import { Enforcer, newPsk } from "../harness/enforcer.ts";
import { execOk, type Lab } from "../harness/lab.ts";

/** `web` may connect to `db`; everybody may ask, nobody else is let in. */
const policy = `version: 1
policies:
  - name: ask
    subject: {}
    egress: [{ name: anybody, action: allow, to: [{}] }]
  - name: db
    subject: { matchLabels: { app: db } }
    ingress: [{ name: from-web, action: allow, from: [{ matchLabels: { app: web } }] }]
`;

export interface Stage {
  readonly node: Node;
  readonly enforcer: Enforcer;
}

export async function createStage(lab: Lab, name: string): Promise<Stage> {
  const cluster = await createCluster(lab);
  const node = await cluster.addNode(name);
  const enforcer = new Enforcer(node, { config: { mode: "psk" } });
  enforcer.writePsk(newPsk());
  enforcer.writePolicy(policy);
  await enforcer.start();
  return { node, enforcer };
}

/** One pod as `trireme status --json` shows it. */
export interface ShownPod {
  readonly containerId: string;
  readonly network: string;
  readonly ifname: string;
  readonly netns: string;
  readonly addresses: readonly string[];
  readonly attributes: JsonObject;
}

export async function shownPods(enforcer: Enforcer): Promise<ShownPod[]> {
  return (await enforcer.json(["status"]))["pus"] as unknown as ShownPod[];
}

/** Whether our table is in a namespace (a name or a path). */
export async function hasOurRules(namespace: string): Promise<boolean> {
  return (await execOk(namespace, ["nft", "list", "tables"])).includes("table inet trireme");
}
