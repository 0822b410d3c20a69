/** Owns the shape of a validated policy and of its answer: plain data, so that it can be cloned to the datapath's worker and compiled there. Source: README.md of this folder. */

import type { Reason } from "../reason.ts";

export type Direction = "ingress" | "egress";
export type Action = "allow" | "deny";

/** Everything that one policy file says, validated; `emptyPolicy` denies everything. */
export interface Policy {
  readonly version: 1;
  readonly policies: readonly NamedPolicy[];
}

export interface NamedPolicy {
  readonly name: string;
  /** Which processing units the rules are for; all requirements must hold, none means every unit. */
  readonly subject: readonly Requirement[];
  readonly ingress: readonly Rule[];
  readonly egress: readonly Rule[];
}

export interface Rule {
  /** `policy/rule`, or `policy/ingress[0]` for a rule without a name. */
  readonly name: string;
  readonly action: Action;
  /** Who is at the other end; any one suffices. */
  readonly peers: readonly Peer[];
  /** Absent: every port of every protocol. */
  readonly ports?: readonly PortRange[];
}

export type Peer = SelectorPeer | AddressPeer;

/** Peers with a verified identity. */
export interface SelectorPeer {
  readonly kind: "selector";
  /** All must hold; none means every identity. */
  readonly requirements: readonly Requirement[];
  /** Keys of which the peer must share a value with the unit itself. */
  readonly sameAs: readonly string[];
}

/** Peers without an identity: outside the managed networks, listed as unmanaged, or not TCP. */
export interface AddressPeer {
  readonly kind: "address";
  /** Canonical CIDR. */
  readonly cidr: string;
  /** Canonical CIDRs inside `cidr` that this peer, and only this one, leaves out. */
  readonly except: readonly string[];
}

export type Requirement =
  | { readonly operator: "In" | "NotIn" | "Prefix"; readonly key: string; readonly values: readonly string[] }
  | { readonly operator: "Exists" | "DoesNotExist"; readonly key: string };

/** IP protocol number and an inclusive range of ports; 0 to 65535 where the protocol has none or all are meant. */
export interface PortRange {
  readonly protocol: number;
  readonly first: number;
  readonly last: number;
}

/** Shared and frozen: never changed by a caller. */
export interface Decision {
  readonly verdict: "allow" | "deny";
  readonly reason: Reason;
  /** The rule that decided, as `policy/rule`; undefined where no rule did. */
  readonly rule: string | undefined;
}

export const emptyPolicy: Policy = { version: 1, policies: [] };
