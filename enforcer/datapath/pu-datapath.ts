/** What the worker holds for one processing unit: its engine, its sockets in the pod's namespace, and its current token. */
import { Conntrack, type FlowTuple } from "../../netlink/conntrack.ts";
import { RawSocket } from "../../netlink/raw-socket.ts";
import { Engine } from "../handshake/engine.ts";
import type { EngineEnvironment } from "../handshake/environment.ts";
import type { FlowAddresses } from "../handshake/flow-record.ts";
import type { Emission } from "../handshake/outcome.ts";
import type { OwnToken } from "../identity/identity.ts";
import { protocolTcp } from "../packet/packet.ts";
import type { VerdictMarks } from "./mark.ts";
import type { PuDescription } from "./messages.ts";
import { OwnSegments } from "./own-segments.ts";
import { PuSocket, socketGroups } from "./pu-socket.ts";

export class PuDatapath {
  readonly description: PuDescription;
  readonly engine: Engine;
  readonly ownSegments = new OwnSegments();
  readonly sockets: PuSocket[] = [];
  token: OwnToken;
  readonly #rawSockets = new Map<4 | 6, RawSocket>();
  #conntrack: Conntrack | undefined;

  constructor(description: PuDescription, token: OwnToken, environment: EngineEnvironment) {
    this.description = description;
    this.token = token;
    this.engine = new Engine(
      {
        id: description.id,
        attributes: description.attributes,
        token: () => this.token,
        mtu: description.mtu,
      },
      environment,
    );
  }

  /** Opens the queue sockets; on failure none stays open. Throws `NetlinkError`. */
  open(nextToken: () => number, queueLength: number): void {
    try {
      for (const group of socketGroups)
        this.sockets.push(new PuSocket(this, group, nextToken(), this.description.netnsFd, queueLength));
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

  /** Sends a reset from inside the pod's namespace. Throws `NetlinkError`. */
  emit(emission: Emission, nowMs: number): void {
    if (emission.to === "peer") this.ownSegments.remember(emission.packet, nowMs);
    this.#rawSocket((emission.packet[0] ?? 0) >> 4 === 6 ? 6 : 4).send(emission.packet);
  }

  /** Marks the conntrack entry of a flow of this PU as authorised. False if there is none. Throws `NetlinkError`. */
  authorise(flow: FlowAddresses, marks: VerdictMarks): boolean {
    this.#conntrack ??= Conntrack.open({ netns: this.description.netnsFd });
    return this.#conntrack.setMark(answersOf(flow), marks.authorised, marks.mask);
  }

  #rawSocket(version: 4 | 6): RawSocket {
    const open = this.#rawSockets.get(version);
    if (open !== undefined) return open;
    const fresh = RawSocket.open({ version, netns: this.description.netnsFd });
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
