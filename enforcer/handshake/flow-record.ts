/** Owns the record of one decision at one end, what `trireme flows` shows (less the time). Source: README.md of this folder. */
import type { Attributes } from "../policy/attributes.ts";
import type { Reason } from "../reason.ts";

/** One end of a flow. `id` and `attributes` are there if it is a PU that is ours or whose token was verified. */
export interface FlowEnd {
  readonly id?: string;
  readonly attributes?: Attributes;
  /** 16 bytes, IPv4 mapped, the record's own; text is made where somebody reads it (`formatAddress`). */
  readonly address: Uint8Array;
  /** 0 where the protocol has none. */
  readonly port: number;
}

export interface FlowRecord {
  readonly verdict: "allow" | "deny";
  readonly reason: Reason;
  /** `policy/rule` that decided. */
  readonly rule?: string;
  /** What the decision rests on: a verified token, an address rule, or nothing. */
  readonly proof: "token" | "address" | "none";
  /** Which end made the decision: the source's enforcer or the destination's. */
  readonly reporter: "source" | "destination";
  /** `tcp`, `udp`, …, or the IP protocol number as text. */
  readonly protocol: string;
  /** Who asked (the client). */
  readonly source: FlowEnd;
  /** Who answers (the server), as this end saw it: a client that dialled a Service sees its VIP here. */
  readonly destination: FlowEnd;
  /** Time that the connection's segments had spent with this enforcer when it decided; filled in by the datapath. */
  readonly latencyUs?: number;
}

/** A TCP flow as the PU's side sees it on the wire, after the pod's own NAT. Addresses are 16 bytes, IPv4 mapped. */
export interface FlowAddresses {
  readonly local: Uint8Array;
  readonly localPort: number;
  readonly remote: Uint8Array;
  readonly remotePort: number;
}
