/**
 * What the worker holds in one pod's network namespace: its sockets, and the processing units (PUs) whose interfaces are
 * there. Most pods have one; a second attachment of the same pod is a PU of its own behind the same queues.
 */
import { Conntrack, type FlowTuple } from "../../netlink/conntrack.ts";
import { NetlinkError } from "../../netlink/error.ts";
import { queueStatistics } from "../../netlink/queue-socket.ts";
import { RawSocket } from "../../netlink/raw-socket.ts";
import { Route } from "../../netlink/route.ts";
import type { FlowAddresses } from "../handshake/flow-record.ts";
import type { Emission } from "../handshake/outcome.ts";
import { protocolTcp } from "../packet/packet.ts";
import type { VerdictMarks } from "./mark.ts";
import { NamespaceSocket, socketGroups } from "./namespace-socket.ts";
import { OwnSegments } from "./own-segments.ts";
import type { PuDatapath } from "./pu-datapath.ts";

export class PodNamespace {
  /** SO_NETNS_COOKIE. */
  readonly cookie: bigint;
  readonly ownSegments = new OwnSegments();
  readonly sockets: NamespaceSocket[] = [];
  /** By the index of their interface, which a rename doesn't change. */
  readonly #units = new Map<number, PuDatapath>();
  readonly #rawSockets = new Map<4 | 6, RawSocket>();
  #conntrack: Conntrack | undefined;
  #netnsFd: number;
  #overflowed = 0;

  constructor(cookie: bigint, netnsFd: number) {
    this.cookie = cookie;
    this.#netnsFd = netnsFd;
  }

  get netnsFd(): number {
    return this.#netnsFd;
  }

  get isEmpty(): boolean {
    return this.#units.size === 0;
  }

  /** Opens the queue sockets; on failure none stays open. Throws `NetlinkError`. */
  open(nextToken: () => number, queueLength: number): void {
    try {
      for (const group of socketGroups)
        this.sockets.push(new NamespaceSocket(this, group, nextToken(), queueLength));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    for (const socket of this.sockets) socket.close();
    for (const socket of this.#rawSockets.values()) socket.close();
    this.#conntrack?.close();
  }

  /** Throws `Error` where the PU's interface isn't there, and `NetlinkError`. */
  add(unit: PuDatapath): void {
    this.#units.set(this.#indexOf(unit.description.interfaceName), unit);
  }

  remove(unit: PuDatapath): void {
    for (const [index, known] of this.#units) if (known === unit) this.#units.delete(index);
    // The descriptor of a PU that leaves is closed; those of the others name the same namespace.
    const other = this.#units.values().next().value;
    if (other !== undefined) this.#netnsFd = other.description.netnsFd;
  }

  /** The PU whose interface a packet came in by or goes out by. */
  unitOf(device: number): PuDatapath | undefined {
    return this.#units.get(device);
  }

  /** Packets that the kernel dropped since the last call, because a queue or its reader's buffer was full. Throws `NetlinkError`. */
  takeOverflow(): number {
    let total = 0;
    for (const { dropped, droppedByReader } of queueStatistics(this.#netnsFd))
      total += dropped + droppedByReader;
    const grown = total - this.#overflowed;
    this.#overflowed = total;
    return grown;
  }

  /** Sends a reset from inside the namespace. Throws `NetlinkError`. */
  emit(emission: Emission, nowMs: number): void {
    if (emission.to === "peer") this.ownSegments.remember(emission.packet, nowMs);
    const errno = this.#rawSocket((emission.packet[0] ?? 0) >> 4 === 6 ? 6 : 4).send(emission.packet);
    if (errno !== 0) throw new NetlinkError("send a reset", errno);
  }

  /** Marks the conntrack entry of a flow as authorised. False if there is none. Throws `NetlinkError`. */
  authorise(flow: FlowAddresses, marks: VerdictMarks): boolean {
    this.#conntrack ??= Conntrack.open({ netns: this.#netnsFd });
    return this.#conntrack.setMark(answersOf(flow), marks.authorised, marks.mask);
  }

  #indexOf(interfaceName: string): number {
    const route = Route.open({ netns: this.#netnsFd });
    try {
      const link = route.links().find(({ name }) => name === interfaceName);
      if (link === undefined) throw new Error(`no interface ${interfaceName} in the namespace`);
      return link.index;
    } finally {
      route.close();
    }
  }

  #rawSocket(version: 4 | 6): RawSocket {
    const open = this.#rawSockets.get(version);
    if (open !== undefined) return open;
    const fresh = RawSocket.open({ version, netns: this.#netnsFd });
    this.#rawSockets.set(version, fresh);
    return fresh;
  }
}

/**
 * The flow as its answers have it. Addresses on the wire are those after the pod's own NAT, and conntrack finds an entry
 * by the tuple of either direction.
 */
function answersOf(flow: FlowAddresses): FlowTuple {
  return {
    protocol: protocolTcp,
    source: unmapped(flow.remote),
    destination: unmapped(flow.local),
    sourcePort: flow.remotePort,
    destinationPort: flow.localPort,
  };
}

/** 4 bytes of an IPv4-mapped address, 16 of any other. */
function unmapped(address: Uint8Array): Uint8Array {
  const isMapped =
    address[10] === 0xff && address[11] === 0xff && address.subarray(0, 10).every((byte) => byte === 0);
  return isMapped ? address.subarray(12) : address;
}
