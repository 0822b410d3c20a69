/**
 * The model of nf_tables tables that this package writes and reads: tables of chains of rules of expressions.
 * Source: include/uapi/linux/netfilter/nf_tables.h.
 *
 * Every expression works on register 1, as nft's own output does; what a dump holds beyond this model is decoded as
 * `unknown`, so that it never compares equal to anything wanted.
 */

export type Family = "inet" | "ip" | "ip6" | "netdev";

/** One table. `flags` is NFTA_TABLE_FLAGS (1 = dormant, 2 = owned by a process); absent means 0. */
export interface Table {
  readonly family: Family;
  readonly name: string;
  readonly flags?: number;
  readonly chains: readonly Chain[];
}

/** One chain. Without `hook` it is a regular chain, reached by jump or goto only. */
export interface Chain {
  readonly name: string;
  readonly hook?: Hook;
  readonly rules: readonly Rule[];
}

export type HookName = "prerouting" | "input" | "forward" | "output" | "postrouting" | "ingress" | "egress";

/** Where a base chain is attached. `devices`: interface names, for family netdev (and inet ingress) only. */
export interface Hook {
  readonly type: "filter" | "nat" | "route";
  readonly hook: HookName;
  /** Signed 32-bit; lower runs earlier. */
  readonly priority: number;
  readonly policy: "accept" | "drop";
  readonly devices?: readonly string[];
}

export interface Rule {
  readonly expressions: readonly Expression[];
}

export type MetaKey =
  | "length"
  | "protocol"
  | "mark"
  | "iif"
  | "oif"
  | "iifname"
  | "oifname"
  | "iiftype"
  | "oiftype"
  | "skuid"
  | "skgid"
  | "rtclassid"
  | "nfproto"
  | "l4proto"
  | "pkttype"
  | "cgroup";

export type CtKey = "state" | "status" | "mark";
export type PayloadBase = "link" | "network" | "transport";
export type CompareOperator = "==" | "!=" | "<" | "<=" | ">" | ">=";

/** nft's data types of set keys; the kernel ignores them, `nft list ruleset` needs them to print a set. */
export type SetKeyType =
  | "ipv4_addr"
  | "ipv6_addr"
  | "ether_addr"
  | "ether_type"
  | "inet_proto"
  | "inet_service"
  | "icmp_type"
  | "icmpv6_type"
  | "mark"
  | "ifname"
  | "other";

/** `from` to `to`, both inclusive, big-endian order, both of the set's key length. A constant has `from` equal to `to`. */
export interface SetRange {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

/** A constant set that lives and dies with the one rule that looks into it. */
export interface AnonymousSet {
  readonly keyType: SetKeyType;
  /** In bytes. */
  readonly keyLength: number;
  readonly ranges: readonly SetRange[];
}

export type Expression =
  | { readonly kind: "metaLoad"; readonly key: MetaKey }
  | { readonly kind: "metaSet"; readonly key: MetaKey }
  | { readonly kind: "ctLoad"; readonly key: CtKey }
  | { readonly kind: "ctSet"; readonly key: CtKey }
  | {
      readonly kind: "payloadLoad";
      readonly base: PayloadBase;
      readonly offset: number;
      /** In bytes, 1 to 16. */
      readonly length: number;
    }
  /** register = (register & mask) ^ xor; marks are little-endian (the host's order), header fields big-endian. */
  | { readonly kind: "bitwise"; readonly mask: Uint8Array; readonly xor: Uint8Array }
  | { readonly kind: "compare"; readonly operator: CompareOperator; readonly data: Uint8Array }
  | { readonly kind: "immediate"; readonly data: Uint8Array }
  | { readonly kind: "lookup"; readonly set: AnonymousSet; readonly invert: boolean }
  /** Packet and byte counts are there in what was read; they are neither written nor compared. */
  | { readonly kind: "counter"; readonly packets?: bigint; readonly bytes?: bigint }
  /** Written natively or as the compat target NFQUEUE; both read back as this. */
  | {
      readonly kind: "queue";
      readonly number: number;
      /** How many queues from `number` on share the packets; 1 = no sharing. */
      readonly total: number;
      /** True: packets pass when nobody reads the queue. */
      readonly bypass: boolean;
      readonly fanout: boolean;
    }
  | { readonly kind: "verdict"; readonly verdict: "accept" | "drop" | "return" | "continue" }
  | { readonly kind: "verdict"; readonly verdict: "jump" | "goto"; readonly chain: string }
  /** Read only: an expression, or a use of one, that this model doesn't have. `data` is its raw attribute. */
  | { readonly kind: "unknown"; readonly name: string; readonly data: Uint8Array };
