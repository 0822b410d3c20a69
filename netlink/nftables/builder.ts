/**
 * Builds rules from typed matches and actions, with the header dependencies that nft would add.
 * Source: what `nft --debug=netlink` prints for the same rule; checked against it in the tests.
 */
import type { Prefix } from "../prefix.ts";
import type { AnonymousSet, Expression, Rule, SetKeyType, SetRange } from "./model.ts";

/** A header that must be known present before a statement may load from it; written once per rule. */
type Dependency = "ip" | "ip6" | "arp" | "tcp" | "udp" | "icmp" | "icmp6";

/** One match or action. Make them with `match` and `action` only. */
export interface Statement {
  readonly requires: readonly Dependency[];
  readonly expressions: readonly Expression[];
}

/** Bits of the 14th byte of the TCP header (RFC 9293 section 3.1), without the ECN bits. */
export const tcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;

/** Bits of `ct state` (enum ip_conntrack_info, NF_CT_STATE_BIT). */
const ctStateBit = { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 } as const;
export type CtState = keyof typeof ctStateBit;

/** A rule for families inet, ip and ip6. */
export function rule(...statements: readonly Statement[]): Rule {
  return { expressions: assemble(statements, inetDependency) };
}

/** A rule for family netdev, where the network protocol is told by the frame's ethertype. */
export function netdevRule(...statements: readonly Statement[]): Rule {
  return { expressions: assemble(statements, netdevDependency) };
}

export const match = {
  inputInterface: (name: string): Statement => plain(meta("iifname"), equal(interfaceName(name))),
  notInputInterface: (name: string): Statement => plain(meta("iifname"), unequal(interfaceName(name))),
  inputInterfaceIn: (names: readonly string[]): Statement => plain(meta("iifname"), inSet(nameSet(names))),
  notInputInterfaceIn: (names: readonly string[]): Statement =>
    plain(meta("iifname"), notInSet(nameSet(names))),
  outputInterface: (name: string): Statement => plain(meta("oifname"), equal(interfaceName(name))),
  notOutputInterface: (name: string): Statement => plain(meta("oifname"), unequal(interfaceName(name))),
  outputInterfaceIn: (names: readonly string[]): Statement => plain(meta("oifname"), inSet(nameSet(names))),
  notOutputInterfaceIn: (names: readonly string[]): Statement =>
    plain(meta("oifname"), notInSet(nameSet(names))),

  /** The IP protocol number behind all IPv6 extension headers. */
  protocol: (number: number): Statement => plain(meta("l4proto"), equal(bytes(number))),
  /** TCP with (flags & mask) == value; see `tcpFlag`. */
  tcpFlags: (mask: number, value: number): Statement => ({
    requires: ["tcp"],
    expressions: [payload("transport", 13, 1), masked(bytes(mask)), equal(bytes(value))],
  }),

  /** (packet mark & mask) == value. */
  mark: (mask: number, value: number): Statement => plain(meta("mark"), masked(u32(mask)), equal(u32(value))),
  /** Packet mark, all 32 bits. */
  markIs: (value: number): Statement => plain(meta("mark"), equal(u32(value))),
  /** (connection mark & mask) == value; never true without a connection. */
  ctMark: (mask: number, value: number): Statement =>
    plain({ kind: "ctLoad", key: "mark" }, masked(u32(mask)), equal(u32(value))),
  /** The connection's state is one of these. */
  ctState: (...states: readonly CtState[]): Statement => {
    const mask = states.reduce((bits, state) => bits | ctStateBit[state], 0);
    return plain({ kind: "ctLoad", key: "state" }, masked(u32(mask)), unequal(u32(0)));
  },

  ip4Source: (prefixes: readonly Prefix[]): Statement => address("ip", 12, 4, prefixes),
  ip4Destination: (prefixes: readonly Prefix[]): Statement => address("ip", 16, 4, prefixes),
  ip6Source: (prefixes: readonly Prefix[]): Statement => address("ip6", 8, 16, prefixes),
  ip6Destination: (prefixes: readonly Prefix[]): Statement => address("ip6", 24, 16, prefixes),
  ip6HopLimit: (limit: number): Statement => ({
    requires: ["ip6"],
    expressions: [payload("network", 7, 1), equal(bytes(limit))],
  }),
  icmp6Type: (types: readonly number[]): Statement => ({
    requires: ["icmp6"],
    expressions: [
      payload("transport", 0, 1),
      oneOf(
        "icmpv6_type",
        types.map((type) => bytes(type)),
      ),
    ],
  }),

  /** ARP whose sender protocol address is one of these (4 bytes each); only for `netdevRule`. */
  arpSenderIp: (addresses: readonly Uint8Array[]): Statement => ({
    requires: ["arp"],
    expressions: [payload("network", 14, 4), oneOf("ipv4_addr", addresses)],
  }),
  /** The packet has a route, so it came from the IP stack and not from a packet socket. */
  hasRoute: (): Statement => plain(meta("rtclassid"), masked(u32(0)), equal(u32(0))),
} as const;

export const action = {
  accept: (): Statement => plain({ kind: "verdict", verdict: "accept" }),
  drop: (): Statement => plain({ kind: "verdict", verdict: "drop" }),
  return: (): Statement => plain({ kind: "verdict", verdict: "return" }),
  jump: (chain: string): Statement => plain({ kind: "verdict", verdict: "jump", chain }),
  goto: (chain: string): Statement => plain({ kind: "verdict", verdict: "goto", chain }),
  counter: (): Statement => plain({ kind: "counter" }),
  /** To one user-space queue; without a reader the packet is dropped. */
  queue: (number: number): Statement =>
    plain({ kind: "queue", number, total: 1, bypass: false, fanout: false }),

  setMark: (value: number): Statement => plain({ kind: "immediate", data: u32(value) }, metaSetMark),
  /** packet mark = packet mark & mask. */
  keepMark: (mask: number): Statement => plain(meta("mark"), masked(u32(mask)), metaSetMark),
  /** connection mark = connection mark & mask. */
  keepCtMark: (mask: number): Statement =>
    plain({ kind: "ctLoad", key: "mark" }, masked(u32(mask)), { kind: "ctSet", key: "mark" }),
  /** connection mark = (connection mark & mask) ^ bits. */
  mergeCtMark: (mask: number, bits: number): Statement =>
    plain(
      { kind: "ctLoad", key: "mark" },
      { kind: "bitwise", mask: u32(mask), xor: u32(bits) },
      { kind: "ctSet", key: "mark" },
    ),
} as const;

const metaSetMark: Expression = { kind: "metaSet", key: "mark" };

function assemble(
  statements: readonly Statement[],
  check: (dependency: Dependency) => Expression[],
): Expression[] {
  const known = new Set<Dependency>();
  return statements.flatMap(({ requires, expressions }) => {
    const missing = requires.filter((dependency) => !known.has(dependency));
    for (const dependency of missing) known.add(dependency);
    return [...missing.flatMap(check), ...expressions];
  });
}

const l4Protocol: Partial<Record<Dependency, number>> = { tcp: 6, udp: 17, icmp: 1, icmp6: 58 };

function inetDependency(dependency: Dependency): Expression[] {
  const protocol = l4Protocol[dependency];
  if (protocol !== undefined) return [meta("l4proto"), equal(bytes(protocol))];
  return [meta("nfproto"), equal(bytes(dependency === "ip" ? 2 : 10))];
}

/** The ethertype in the frame itself for ARP (a sender chooses sll_protocol freely), skb->protocol for the others. */
function netdevDependency(dependency: Dependency): Expression[] {
  if (dependency === "arp") {
    return [meta("iiftype"), equal(Uint8Array.of(1, 0)), payload("link", 12, 2), equal(Uint8Array.of(8, 6))];
  }
  const protocol = l4Protocol[dependency];
  if (protocol !== undefined) return [meta("l4proto"), equal(bytes(protocol))];
  return [
    meta("protocol"),
    equal(dependency === "ip" ? Uint8Array.of(0x08, 0x00) : Uint8Array.of(0x86, 0xdd)),
  ];
}

function address(
  family: "ip" | "ip6",
  offset: number,
  length: number,
  prefixes: readonly Prefix[],
): Statement {
  const ranges = prefixes.map(prefixRange);
  const [first] = ranges;
  const load = payload("network", offset, length);
  if (ranges.length === 1 && first !== undefined && Buffer.compare(first.from, first.to) === 0) {
    return { requires: [family], expressions: [load, equal(first.from)] };
  }
  const keyType: SetKeyType = family === "ip" ? "ipv4_addr" : "ipv6_addr";
  return { requires: [family], expressions: [load, inSet({ keyType, keyLength: length, ranges })] };
}

function prefixRange({ address: network, length }: Prefix): SetRange {
  const from = network.slice();
  const to = network.slice();
  for (let index = 0; index < network.length; index++) {
    const hostBits = 0xff >> Math.min(8, Math.max(0, length - index * 8));
    from[index] = (from[index] ?? 0) & ~hostBits;
    to[index] = (to[index] ?? 0) | hostBits;
  }
  return { from, to };
}

function oneOf(keyType: SetKeyType, values: readonly Uint8Array[]): Expression {
  const [first] = values;
  if (values.length === 1 && first !== undefined) return equal(first);
  const ranges = values.map((value) => ({ from: value, to: value }));
  return inSet({ keyType, keyLength: first?.length ?? 0, ranges });
}

function nameSet(names: readonly string[]): AnonymousSet {
  const ranges = names.map(interfaceName).map((name) => ({ from: name, to: name }));
  return { keyType: "ifname", keyLength: 16, ranges };
}

function inSet(set: AnonymousSet): Expression {
  return { kind: "lookup", set, invert: false };
}

function notInSet(set: AnonymousSet): Expression {
  return { kind: "lookup", set, invert: true };
}

function plain(...expressions: readonly Expression[]): Statement {
  return { requires: [], expressions };
}

function meta(key: (Expression & { kind: "metaLoad" })["key"]): Expression {
  return { kind: "metaLoad", key };
}

function payload(base: "link" | "network" | "transport", offset: number, length: number): Expression {
  return { kind: "payloadLoad", base, offset, length };
}

function masked(mask: Uint8Array): Expression {
  return { kind: "bitwise", mask, xor: new Uint8Array(mask.length) };
}

function equal(data: Uint8Array): Expression {
  return { kind: "compare", operator: "==", data };
}

function unequal(data: Uint8Array): Expression {
  return { kind: "compare", operator: "!=", data };
}

/** 16 bytes, zero padded: the whole IFNAMSIZ, so that no longer name matches. */
function interfaceName(name: string): Uint8Array {
  const encoded = Buffer.from(name);
  if (encoded.length === 0 || encoded.length > 15)
    throw new RangeError(`an interface name has 1 to 15 bytes: "${name}"`);
  const padded = new Uint8Array(16);
  padded.set(encoded);
  return padded;
}

function bytes(...values: readonly number[]): Uint8Array {
  return Uint8Array.from(values);
}

/** A mark or another value in the host's order; every platform this package runs on is little-endian. */
function u32(value: number): Uint8Array {
  const data = new Uint8Array(4);
  new DataView(data.buffer).setUint32(0, value >>> 0, true);
  return data;
}
