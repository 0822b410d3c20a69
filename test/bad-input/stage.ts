/** Two pods under live enforcers, one of which gets all the bad input, and everything by which a test knows what became of it. */
import { mkdirSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { closeFd, openNetns } from "../../netlink/netns.ts";
import { queueStatistics } from "../../netlink/queue-socket.ts";
import { RawSocket } from "../../netlink/raw-socket.ts";
import type { JsonObject } from "../harness/cni-chain.ts";
import { createAuthority } from "../harness/authority.ts";
import { runOk, waitFor } from "../harness/command.ts";
import { createCluster, type Pod } from "../harness/cluster.ts";
import { Enforcer } from "../harness/enforcer.ts";
import { execOk, type Lab, namespacePath } from "../harness/lab.ts";

const METRICS = "127.0.0.1:9477";

/** Counts by name; what is missing counts 0. */
export type Counts = Readonly<Record<string, number>>;

/** What the process under test uses. */
export interface Footprint {
  readonly startedAtTicks: number;
  /** What each descriptor is of, without the numbers of sockets and pipes; sorted. */
  readonly descriptors: readonly string[];
  readonly residentMb: number;
  /** Packets that wait in the pod's queues. */
  readonly waiting: number;
}

/** Nobody has these addresses, which lie in the pod networks: bad input comes from there, and goes there. */
export const nobody = { 4: "10.244.1.200", 6: "fd00:244:1::c8" } as const;

/** Counts what comes from there to the pod at three places, the last of which lies behind the product's own rules. */
const observers = `
table inet watch {
  counter arrived {}
  counter invalid {}
  counter passed {}
  chain first { type filter hook prerouting priority -450;
    ip saddr ${nobody[4]} counter name arrived
    ip6 saddr ${nobody[6]} counter name arrived
  }
  chain tracked { type filter hook prerouting priority -151;
    ip saddr ${nobody[4]} ct state invalid counter name invalid
    ip6 saddr ${nobody[6]} ct state invalid counter name invalid
  }
  chain last { type filter hook prerouting priority -99;
    ip saddr ${nobody[4]} counter name passed
    ip6 saddr ${nobody[6]} counter name passed
  }
}`;

export class Stage {
  readonly lab: Lab;
  readonly router: string;
  /** Of the node whose pod sends connections. */
  readonly peer: Enforcer;
  /** The process under test. */
  readonly enforcer: Enforcer;
  readonly client: Pod;
  readonly server: Pod;
  /** Where the private key of the cluster's CA lies. */
  readonly authorityFolder: string;
  readonly startedMs = performance.now();
  readonly #sender: string;
  readonly #netnsFd: number;
  readonly #link: string;
  readonly #hardware: string;

  private constructor(parts: {
    lab: Lab;
    router: string;
    peer: Enforcer;
    enforcer: Enforcer;
    client: Pod;
    server: Pod;
    sender: string;
  }) {
    this.lab = parts.lab;
    this.router = parts.router;
    this.peer = parts.peer;
    this.enforcer = parts.enforcer;
    this.client = parts.client;
    this.server = parts.server;
    this.authorityFolder = join(parts.lab.folder, "authority", "ca-private");
    this.#sender = parts.sender;
    this.#link = interfaceOf(parts.server, false).name;
    this.#hardware = interfaceOf(parts.server, true).mac;
    this.#netnsFd = openNetns(namespacePath(parts.server.namespace));
    parts.lab.defer(() => closeFd(this.#netnsFd));
  }

  /** `stateBytes`: the size of the file system that holds the registry of the process under test. */
  static async create(
    lab: Lab,
    { policy, config, stateBytes }: { policy: string; config: JsonObject; stateBytes: number },
  ): Promise<Stage> {
    const cluster = await createCluster(lab);
    const authority = await createAuthority(lab);
    const settings = { metrics: METRICS, config: { ...config, mode: "pki" } };
    const enforcers: Enforcer[] = [];
    for (const name of ["node-a", "node-b"]) {
      const enforcer = new Enforcer(await cluster.addNode(name), settings);
      await authority.issue(enforcer);
      enforcer.writePolicy(policy);
      if (name === "node-b") await mountSmall(lab, enforcer.stateFolder, stateBytes);
      await enforcer.start();
      enforcers.push(enforcer);
    }
    const [peer, enforcer] = enforcers;
    if (peer === undefined || enforcer === undefined) throw new Error("two enforcers were asked for");
    const client = await peer.node.addPod("client", { app: "client" });
    const server = await enforcer.node.addPod("server", { app: "server" });
    await execOk(server.namespace, ["nft", "-f", "-"], { input: observers });
    const sender = await buildSender(lab);
    return new Stage({ lab, router: cluster.router, peer, enforcer, client, server, sender });
  }

  /** Sends IP packets to the pod as frames of its link, past every check that a router or a node would make. */
  async sendIn(
    packets: readonly { readonly bytes: Buffer; readonly family: 4 | 6; readonly offload?: Uint8Array }[],
  ): Promise<void> {
    if (packets.length === 0) return;
    const lines = packets.map(({ bytes, family, offload }) =>
      this.#frame(bytes, family, offload).toString("hex"),
    );
    const argv = [this.#sender, this.#link];
    const printed = await execOk(this.enforcer.node.namespace, argv, { input: `${lines.join("\n")}\n` });
    if (printed !== `sent ${packets.length}\n`) throw new Error(printed);
  }

  #frame(bytes: Buffer, family: 4 | 6, offload: Uint8Array = new Uint8Array(10)): Buffer {
    const type = family === 6 ? "86dd" : "0800";
    const to = this.#hardware.replaceAll(":", "");
    return Buffer.concat([offload, Buffer.from(`${to}020000000001${type}`, "hex"), bytes]);
  }

  /** Sends IP packets out of the pod by a raw socket, as CAP_NET_RAW can. Gives how many the kernel took. */
  sendOut(packets: readonly Buffer[]): number {
    const sockets = {
      4: RawSocket.open({ version: 4, netns: this.#netnsFd }),
      6: RawSocket.open({ version: 6, netns: this.#netnsFd }),
    };
    const taken = packets.filter((bytes) => sockets[(bytes[0] ?? 0) >> 4 === 6 ? 6 : 4].send(bytes) === 0);
    for (const socket of Object.values(sockets)) socket.close();
    return taken.length;
  }

  /** The engine's counters, by reason, once all that has been sent is judged and reported. */
  async reasons(): Promise<Counts> {
    await this.idle();
    const { counters } = await this.enforcer.json(["status"]);
    return counters as Counts;
  }

  /** Waits until the pod's queues are empty, and for the worker's next report. */
  async idle(): Promise<void> {
    await waitFor("empty queues", () => this.waiting() === 0);
    await new Promise((resolve) => setTimeout(resolve, 150));
  }

  waiting(): number {
    return queueStatistics(this.#netnsFd).reduce((sum, { waiting }) => sum + waiting, 0);
  }

  /** The pod's kernel's counters: SNMP, conntrack, and the observers' in the pod's namespace. */
  async kernel(): Promise<Counts> {
    const argv = ["cat", "/proc/net/snmp", "/proc/net/netstat", "/proc/net/snmp6"];
    const [snmp, watch] = await Promise.all([
      execOk(this.server.namespace, argv),
      execOk(this.server.namespace, ["nft", "list", "counters", "table", "inet", "watch"]),
    ]);
    return { ...parseSnmp(snmp), ...parseCounters(watch) };
  }

  /** Samples of /metrics, by name with labels. */
  async metrics(): Promise<Counts> {
    const text = await execOk(this.enforcer.node.namespace, ["curl", "-sf", `http://${METRICS}/metrics`]);
    return Object.fromEntries(
      text
        .split("\n")
        .filter((line) => line.startsWith("trireme_"))
        .map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]),
    );
  }

  /** The lines of the log that say this. */
  logged(message: string): JsonObject[] {
    return this.enforcer.log
      .split("\n")
      .filter((line) => line.includes(`"message":"${message}"`))
      .map((line) => JSON.parse(line) as JsonObject);
  }

  footprint(): Footprint {
    const proc = join("/proc", String(this.enforcer.pid));
    const stat = readFileSync(join(proc, "stat"), "utf8");
    const resident = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(join(proc, "status"), "utf8"))?.[1];
    return {
      startedAtTicks: Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]),
      descriptors: readdirSync(join(proc, "fd"))
        .flatMap((fd) => kindOf(join(proc, "fd", fd)))
        .sort(),
      residentMb: Number(resident) / 1024,
      waiting: this.waiting(),
    };
  }
}

/** Nothing for one that was closed meanwhile. */
function kindOf(link: string): string[] {
  try {
    return [readlinkSync(link).replace(/\d+\]$/, "]")];
  } catch {
    return [];
  }
}

async function mountSmall(lab: Lab, folder: string, bytes: number): Promise<void> {
  mkdirSync(folder, { mode: 0o700 });
  await runOk(["mount", "-t", "tmpfs", "-o", `size=${bytes},mode=700`, "none", folder]);
  lab.defer(async () => {
    await runOk(["umount", "--lazy", folder]);
  });
}

async function buildSender(lab: Lab): Promise<string> {
  const source = join(import.meta.dirname, "programs", "send-frames.c");
  const folder = join(lab.folder, "programs");
  mkdirSync(folder);
  const program = join(folder, "send-frames");
  await runOk(["cc", "-O1", "-Wall", "-Wextra", "-o", program, source]);
  return program;
}

/** The pod's end of its link, or the node's, as ptp named it. */
function interfaceOf(pod: Pod, isInside: boolean): { name: string; mac: string } {
  const interfaces = (pod.result["interfaces"] ?? []) as { name: string; mac: string; sandbox?: string }[];
  const found = interfaces.find(({ sandbox }) => (sandbox !== undefined) === isInside);
  if (found === undefined) throw new Error("the result does not name both ends of the link");
  return found;
}

/** Two lines a protocol (names, values), or one a counter in snmp6. */
function parseSnmp(text: string): Record<string, number> {
  const counts: Record<string, number> = {};
  const lines = text.split("\n").map((line) => line.split(/\s+/));
  for (const [index, [first = "", ...rest]] of lines.entries()) {
    if (!first.endsWith(":") && rest.length > 0) counts[first] = Number(rest[0]);
    const names = lines[index - 1];
    if (!first.endsWith(":") || names?.[0] !== first || index % 2 === 0) continue;
    for (const [place, value] of rest.entries())
      counts[`${first.slice(0, -1)}${names[place + 1] ?? ""}`] = Number(value);
  }
  return counts;
}

function parseCounters(text: string): Record<string, number> {
  const found = [...text.matchAll(/counter (\w+) \{\s*packets (\d+)/g)];
  return Object.fromEntries(found.map(([, name = "", packets]) => [`watch:${name}`, Number(packets)]));
}

/** How much each counter grew; those that didn't are left out. */
export function growth(before: Counts, after: Counts): Counts {
  const grown = Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)] as const);
  return Object.fromEntries(grown.filter(([, count]) => count !== 0));
}
