/** Where attacks on the wire take place: two nodes with an enforcer each, victims in pods, and Mallory on the router between them. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ControlClient } from "../../enforcer/control/client.ts";
import type { ListEnd } from "../../enforcer/control/operator-messages.ts";
import { readSigningKey } from "../../enforcer/identity/key-files.ts";
import type { Reason } from "../../enforcer/reason.ts";
import { createCluster, podNetworks } from "../harness/cluster.ts";
import { newPsk, type Enforcer } from "../harness/enforcer.ts";
import { execOk, type Lab } from "../harness/lab.ts";
import { startEnforcers } from "../integration/pair.ts";
import type { Place } from "./forged-ends.ts";
import { Insider } from "./insider.ts";
import { Mallory } from "./mallory.ts";
import { AttackPrograms, type Watcher } from "./programs.ts";
import { Victim } from "./victim.ts";

export const PORT = 8080;
/** Where the server's application lets Fast Open hand it the data of any SYN, without a cookie. */
export const FAST_OPEN_PORT = 8081;
/** In the pod networks, and nobody's: where Mallory poses as a pod. */
export const MALLORY = "10.244.66.6";
/** The router, as the client's node knows it: outside the managed networks, and no rule names it. */
export const ROUTER = "192.168.244.5";
/** The gateway of the server's node, to which NodePorts are masqueraded. */
const TRANSLATOR = "10.244.2.1";

/** Of the server's node, for the server's `PORT`. */
export const NODE_PORT = 30_080;

const START_MS = 30_000;

/** `web` may reach `db`, and itself; `guest` may try, and `db` won't have it. An address of the pod network would do, for who needs no identity. */
const policy = `version: 1
policies:
  - name: db
    subject: { matchLabels: { app: db } }
    ingress:
      - { name: web, action: allow, from: [{ matchLabels: { app: web } }] }
      - { name: by-address, action: allow, from: [{ ipBlock: { cidr: 10.244.0.0/16 } }], ports: [{ port: ${PORT} }] }
  - name: web
    subject: { matchLabels: { app: web } }
    egress:
      - { name: any, action: allow, to: [{ matchLabels: { app: db } }, { matchLabels: { app: web } }] }
      - { name: node, action: allow, to: [{ ipBlock: { cidr: 192.168.244.10/32 } }], ports: [{ protocol: UDP, port: 9 }] }
  - name: guest
    subject: { matchLabels: { app: guest } }
    egress: [{ name: db, action: allow, to: [{ matchLabels: { app: db } }] }]
`;

/** As kube-proxy has it: the destination is the pod, and the source the node's own address on the pod's link. */
const nodePort = (server: string): string => `table ip nodeport {
  chain pre { type nat hook prerouting priority dstnat; tcp dport ${NODE_PORT} dnat to ${server}:${PORT}; }
  chain post { type nat hook postrouting priority srcnat; ip daddr ${server} ct status dnat masquerade; }
}`;

/** Client, server, no cookie demanded (0x200), for every listener (0x400). */
const FAST_OPEN_FOR_ALL = 0x603;

const networks = {
  pods: podNetworks,
  unmanaged: [{ address: "10.244.1.1" }, { address: TRANSLATOR }],
  translators: [TRANSLATOR],
};

interface Parts {
  readonly mallory: Mallory;
  readonly insider: Insider;
  /** The pre-shared key of a time before this cluster had a CA. It still lies in the enforcers' folders. */
  readonly oldPsk: Buffer;
  /** What a pod with CAP_NET_RAW may run. */
  readonly programs: AttackPrograms;
  /** Sees every frame that leaves the pods of the client's node. */
  readonly watcher: Watcher;
  readonly victims: readonly [client: Victim, guest: Victim, server: Victim];
}

export class Field {
  readonly mallory: Mallory;
  readonly insider: Insider;
  readonly oldPsk: Buffer;
  readonly programs: AttackPrograms;
  /** Allowed to reach the server. */
  readonly client: Victim;
  /** Allowed by its own policy, not by the server's. */
  readonly guest: Victim;
  readonly server: Victim;
  readonly serverPlace: Place;
  readonly #watcher: Watcher;
  #lastPort = 20_000;

  static async create(lab: Lab): Promise<Field> {
    const cluster = await createCluster(lab);
    const nodes = [await cluster.addNode("node-a"), await cluster.addNode("node-b")];
    const [near, far] = await startEnforcers(lab, nodes, { mode: "pki", policy, config: { networks } });
    if (near === undefined || far === undefined) throw new Error("two nodes were asked for");
    const oldPsk = newPsk();
    for (const enforcer of [near, far]) enforcer.writePsk(oldPsk);
    const add = async (enforcer: Enforcer, app: string): Promise<Victim> =>
      new Victim(lab, await enforcer.node.addPod(app, { app }), enforcer);
    const victims = [await add(near, "web"), await add(near, "guest"), await add(far, "db")] as const;
    await prepareServer(victims[2]);
    const programs = await AttackPrograms.build(lab);
    const watcher = await programs.watch(lab, near.node.namespace);
    const mallory = Mallory.at(cluster.router);
    lab.defer(() => mallory.close());
    return new Field({ mallory, insider: await bribe(lab), oldPsk, programs, watcher, victims });
  }

  private constructor({ mallory, insider, oldPsk, programs, watcher, victims }: Parts) {
    this.mallory = mallory;
    this.insider = insider;
    this.oldPsk = oldPsk;
    this.programs = programs;
    [this.client, this.guest, this.server] = victims;
    this.serverPlace = { address: this.server.address, port: PORT };
    this.#watcher = watcher;
  }

  /** A port that no connection of this field has had. */
  readonly newPort = (): number => ++this.#lastPort;

  /** Whether the word has come where it must not. */
  heard(word: string): boolean {
    return this.#victims.some((victim) => victim.heard(word)) || this.#watcher.hasSeen(word);
  }

  /** Everything that any application was handed. */
  get everything(): string {
    return this.#victims.map((victim) => victim.everything).join("");
  }

  /** Ends every connection. What Mallory does with their segments stays: none of them heals. */
  calm(): void {
    this.mallory.rest();
    for (const victim of this.#victims) victim.end();
  }

  /** Ends both enforcers, and starts what is to run in their place. */
  async replaceEnforcers(program: () => Promise<readonly string[]>): Promise<void> {
    const enforcers = [this.client.enforcer, this.server.enforcer];
    await Promise.all(enforcers.map((enforcer) => enforcer.stop()));
    const argv = await program();
    await Promise.all(enforcers.map((enforcer) => enforcer.start(START_MS, argv)));
  }

  get #victims(): Victim[] {
    return [this.client, this.guest, this.server];
  }
}

async function prepareServer(server: Victim): Promise<void> {
  const { pod } = server;
  await server.listen(PORT);
  await execOk(pod.namespace, ["sysctl", "-qw", `net.ipv4.tcp_fastopen=${FAST_OPEN_FOR_ALL}`]);
  await server.listen(FAST_OPEN_PORT);
  await execOk(pod.node.namespace, ["nft", nodePort(pod.address)]);
}

/** The CA signs for a node that it shouldn't have trusted. */
async function bribe(lab: Lab): Promise<Insider> {
  const folder = join(lab.folder, "authority/ca-private");
  const [file = ""] = readdirSync(folder);
  return new Insider((await readSigningKey(join(folder, file), "private")).key);
}

/** How often an enforcer has counted this reason. */
export async function counted({ socket }: Enforcer, reason: Reason): Promise<number> {
  const control = await ControlClient.connect(socket);
  try {
    const { counters } = (await control.stream({ op: "list" }, () => undefined)) as ListEnd;
    return counters[reason] ?? 0;
  } finally {
    control.close();
  }
}
