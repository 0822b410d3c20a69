/** Where attacks on the wire take place: two nodes with an enforcer each, victims in pods, and Mallory on the router between them. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ControlClient } from "../../enforcer/control/client.ts";
import type { ListEnd } from "../../enforcer/control/operator-messages.ts";
import { readSigningKey } from "../../enforcer/identity/key-files.ts";
import type { Reason } from "../../enforcer/reason.ts";
import { createCluster, podNetworks } from "../harness/cluster.ts";
import type { Enforcer } from "../harness/enforcer.ts";
import type { Lab } from "../harness/lab.ts";
import { startEnforcers } from "../integration/pair.ts";
import type { Place } from "./forged-ends.ts";
import { Insider } from "./insider.ts";
import { Mallory } from "./mallory.ts";
import { Victim } from "./victim.ts";

export const PORT = 8080;
/** In the pod networks, and nobody's: where Mallory poses as a pod. */
export const MALLORY = "10.244.66.6";
/** The gateway of the server's node, to which NodePorts are masqueraded. */
export const TRANSLATOR = "10.244.2.1";

/** `web` may reach `db` and be reached by it; `guest` may try, and `db` won't have it. Without identity Mallory's network would do. */
const policy = `version: 1
policies:
  - name: db
    subject: { matchLabels: { app: db } }
    ingress:
      - { name: web, action: allow, from: [{ matchLabels: { app: web } }] }
      - { name: by-address, action: allow, from: [{ ipBlock: { cidr: 10.244.66.0/24 } }], ports: [{ port: ${PORT} }] }
  - name: web
    subject: { matchLabels: { app: web } }
    egress: [{ name: db, action: allow, to: [{ matchLabels: { app: db } }] }]
  - name: guest
    subject: { matchLabels: { app: guest } }
    egress: [{ name: db, action: allow, to: [{ matchLabels: { app: db } }] }]
`;

const networks = {
  pods: podNetworks,
  unmanaged: [{ address: "10.244.1.1" }, { address: TRANSLATOR }],
  translators: [TRANSLATOR],
};

export class Field {
  readonly mallory: Mallory;
  readonly insider: Insider;
  /** Allowed to reach the server. */
  readonly client: Victim;
  /** Allowed by its own policy, not by the server's. */
  readonly guest: Victim;
  readonly server: Victim;
  readonly serverPlace: Place;
  #lastPort = 20_000;

  constructor(
    mallory: Mallory,
    insider: Insider,
    [client, guest, server]: readonly [Victim, Victim, Victim],
  ) {
    this.mallory = mallory;
    this.insider = insider;
    this.client = client;
    this.guest = guest;
    this.server = server;
    this.serverPlace = { address: server.address, port: PORT };
  }

  static async create(lab: Lab): Promise<Field> {
    const cluster = await createCluster(lab);
    const nodes = [await cluster.addNode("node-a"), await cluster.addNode("node-b")];
    const [near, far] = await startEnforcers(lab, nodes, { mode: "pki", policy, config: { networks } });
    if (near === undefined || far === undefined) throw new Error("two nodes were asked for");
    const add = async (enforcer: Enforcer, app: string) =>
      new Victim(lab, await enforcer.node.addPod(app, { app }), enforcer);
    const victims = [await add(near, "web"), await add(near, "guest"), await add(far, "db")] as const;
    await victims[2].listen(PORT);
    const mallory = Mallory.at(cluster.router);
    lab.defer(() => mallory.close());
    const authority = join(lab.folder, "authority/ca-private");
    const [file = ""] = readdirSync(authority);
    return new Field(
      mallory,
      new Insider((await readSigningKey(join(authority, file), "private")).key),
      victims,
    );
  }

  /** A port that no connection of this field has had. */
  readonly newPort = (): number => ++this.#lastPort;

  heard(word: string): boolean {
    return [this.client, this.guest, this.server].some((victim) => victim.heard(word));
  }

  /** Ends every connection. What Mallory was to do with them stays: none of them heals. */
  calm(): void {
    for (const victim of [this.client, this.guest, this.server]) victim.end();
  }

  /** Both enforcers again: as they are shipped, or with `program` in their place. */
  async restart(program?: readonly string[]): Promise<void> {
    const enforcers = [this.client.enforcer, this.server.enforcer];
    await Promise.all(enforcers.map((enforcer) => enforcer.stop()));
    await Promise.all(enforcers.map((enforcer) => enforcer.start(20_000, program)));
  }
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
