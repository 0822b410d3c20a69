/** What a pod's kernel says: its counters, its connection tracking, and how much crossed its queues. Sources: proc_net(5), snmp_counter.rst, nfnetlink_conntrack.h. */
import { isMapped, parseAddress } from "../../enforcer/policy/addresses.ts";
import { Conntrack, type ConntrackEntry, type FlowTuple } from "../../netlink/conntrack.ts";
import { closeFd, openNetns, readFileInNetns, writeFileInNetns } from "../../netlink/netns.ts";
import { queueStatistics } from "../../netlink/queue-socket.ts";
import { namespacePath, type Lab } from "../harness/lab.ts";

const STATE_MASK = 0xf0000000;
const AUTHORISED = 0x50000000;

/** Lines of /proc/net/snmp and /proc/net/netstat come in pairs: names, then values, both behind the same prefix. */
function parseCounters(text: string): [string, number][] {
  const lines = text.trim().split("\n");
  return lines.flatMap((names, index) => {
    if (index % 2 !== 0) return [];
    const [prefix = "", ...keys] = names.split(" ");
    const values = (lines[index + 1] ?? "").split(" ").slice(1);
    return keys.map((key, at): [string, number] => [prefix.replace(":", "") + key, Number(values[at])]);
  });
}

export class PodKernel {
  readonly #netns: number;
  readonly #conntrack: Conntrack;

  /** Looks into a namespace until the lab closes. */
  constructor(lab: Lab, namespace: string) {
    this.#netns = openNetns(namespacePath(namespace));
    this.#conntrack = Conntrack.open({ netns: this.#netns });
    lab.defer(() => {
      this.#conntrack.close();
      closeFd(this.#netns);
    });
  }

  /** A counter as nstat calls it: TcpRetransSegs, TcpExtTCPSynRetrans. Throws if the kernel has none of that name. */
  counter(name: string): number {
    const files = ["snmp", "netstat"].map((file) =>
      readFileInNetns(this.#netns, `/proc/thread-self/net/${file}`),
    );
    const value = new Map(files.flatMap(parseCounters)).get(name);
    if (value === undefined) throw new Error(`the kernel has no counter ${name}`);
    return value;
  }

  /** How much counters have grown while `during` ran. */
  async growth(names: readonly string[], during: () => Promise<unknown>): Promise<Record<string, number>> {
    const before = names.map((name) => this.counter(name));
    await during();
    return Object.fromEntries(
      names.map((name, index) => [name, this.counter(name) - (before[index] ?? Number.NaN)]),
    );
  }

  /** Packets that have crossed each queue since it was opened, by the queue's number. */
  crossings(): Map<number, number> {
    return new Map(queueStatistics(this.#netns).map(({ queue, lastId }) => [queue, lastId]));
  }

  entry(flow: Flow): ConntrackEntry | undefined {
    return this.#conntrack.get(tupleOf(flow));
  }

  /** Whether the kernel passes the connection by its mark alone. */
  isAuthorised(flow: Flow): boolean {
    return ((this.entry(flow)?.mark ?? 0) & STATE_MASK) >>> 0 === AUTHORISED;
  }

  /** Forgets the connection's entry; false if there was none. */
  forget(flow: Flow): boolean {
    return this.#conntrack.delete(tupleOf(flow));
  }

  /** A sysctl below /proc/sys/net, such as `ipv4/tcp_tw_reuse`. */
  readSysctl(path: string): string {
    return readFileInNetns(this.#netns, `/proc/sys/net/${path}`).trim();
  }

  writeSysctl(path: string, value: number): void {
    writeFileInNetns(this.#netns, `/proc/sys/net/${path}`, String(value));
  }
}

/** A connection by its ends, the client's first. */
export interface Flow {
  readonly client: { readonly address: string; readonly port: number };
  readonly server: { readonly address: string; readonly port: number };
}

function bytesOf(text: string): Uint8Array {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`${text} is no address`);
  return isMapped(address) ? address.slice(12) : address;
}

function tupleOf({ client, server }: Flow): FlowTuple {
  return {
    protocol: 6,
    source: bytesOf(client.address),
    destination: bytesOf(server.address),
    sourcePort: client.port,
    destinationPort: server.port,
  };
}
