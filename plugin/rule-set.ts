/**
 * Owns the rule set of a pod's network namespace: pure, rendered whole from its parameters. The enforcer imports it too.
 * What each rule is for, in README.md; the hook priorities are between the kernel's own (enum nf_ip_hook_priorities):
 * defragmentation -400, conntrack -200, destination NAT -100, source NAT 100.
 */
import { action, match, rule, tcpFlag } from "../netlink/nftables/builder.ts";
import type { Statement } from "../netlink/nftables/builder.ts";
import type { Chain, Hook, Rule, Table } from "../netlink/nftables/model.ts";
import { parsePrefix } from "../netlink/prefix.ts";
import type { Prefix } from "../netlink/prefix.ts";
import { renderEgress, type EgressParameters } from "./egress-rules.ts";
import { closedChain, closeFrom, closeTo, ownerChain, type RuleOwner } from "./rule-owners.ts";

export const tableFamily = "inet";
export const egressFamily = "netdev";
/** Of the table in either family. */
export const tableName = "trireme";

/** Queues in each pod's namespace, by what crosses them. */
export const queues = {
  inboundSyn: 0,
  inboundSynAck: 1,
  inboundTcp: 2,
  outboundSyn: 3,
  outboundTcp: 4,
  inboundOther: 5,
  outboundOther: 6,
} as const;

export interface RuleSetParameters {
  /** The pod's enforced interfaces, as they are called in the namespace. At least one. */
  readonly interfaceNames: readonly string[];
  /** The 12 contiguous bits of packet and connection mark that are ours. */
  readonly markMask: number;
  /** IPv6 prefixes on the pod's link, `address/length`, that neighbour discovery may go to. */
  readonly onLinkPrefixes6: readonly string[];
  readonly owners?: readonly RuleOwner[];
  /** Interfaces whose attachment has left: nothing passes until their link is gone. None of `interfaceNames`. */
  readonly closedNames?: readonly string[];
  /** Absent where the kernel has no egress hook: packet sockets are then not held back. */
  readonly egress?: EgressParameters | undefined;
}

/** The bits of a mark that say what was decided. */
export interface MarkLayout {
  /** The top 4 of our bits. */
  readonly stateMask: number;
  /** State 1: the reader let this packet pass; never saved to the connection. */
  readonly judged: number;
  /** State 5: the connection is authorised. */
  readonly authorised: number;
  /** State 5 with an index that no connection has: how the reader marks a packet whose connection is authorised from now on. */
  readonly authorising: number;
  /** All bits that aren't ours. */
  readonly others: number;
}

/** How the 12 bits of `markMask` are used. Throws a RangeError unless they are 12 and contiguous. */
export function markLayout(markMask: number): MarkLayout {
  const shift = 31 - Math.clz32(markMask & -markMask);
  if (shift < 0 || markMask >>> shift !== 0xfff)
    throw new RangeError("the mark mask must be 12 contiguous bits");
  const stateShift = shift + 8;
  return {
    stateMask: (0xf << stateShift) >>> 0,
    judged: (1 << stateShift) >>> 0,
    authorised: (5 << stateShift) >>> 0,
    authorising: ((5 << stateShift) | (0xff << shift)) >>> 0,
    others: ~markMask >>> 0,
  };
}

/** The tables of the rule set, to be installed in one batch in place of what is there. Throws a RangeError for parameters that make no set. */
export function renderRuleSet(parameters: RuleSetParameters): readonly Table[] {
  const { interfaceNames, markMask, onLinkPrefixes6, owners = [], closedNames = [], egress } = parameters;
  if (interfaceNames.length === 0) throw new RangeError("a rule set needs an interface");
  const mark = markLayout(markMask);
  const names = [...interfaceNames, ...closedNames];
  const chains = [
    startingWith(closeFrom(closedNames), renderInRaw(names, mark)),
    renderIn(names, mark),
    renderOutRaw(mark),
    startingWith(closeTo(closedNames), renderOut(names, mark, onLinkPrefixes6, egress?.seal)),
    ...owners.map(ownerChain),
    ...closedNames.map(closedChain),
  ];
  const inet: Table = { family: tableFamily, name: tableName, chains };
  return egress === undefined ? [inet] : [inet, renderEgress(tableName, names, egress)];
}

function startingWith(rules: readonly Rule[], chain: Chain): Chain {
  return { ...chain, rules: [...rules, ...chain.rules] };
}

/**
 * Before conntrack, which must never see a payload of ours. SYN and SYN-ACK go to the reader whatever their marks. Nearly all segments
 * are neither and come without a mark; they are let on first.
 */
function renderInRaw(interfaces: readonly string[], mark: MarkLayout): Chain {
  const { syn, ack, rst, fin } = tcpFlag;
  return base("in_raw", "prerouting", -300, "accept", [
    rule(match.markIs(0), match.tcpFlags(syn, 0), action.accept()),
    rule(notFrom(interfaces), action.keepMark(mark.others), action.accept()),
    rule(action.setMark(0)),
    rule(match.tcpFlags(syn, 0), action.accept()),
    rule(match.tcpFlags(syn | rst, syn | rst), action.drop()),
    rule(match.tcpFlags(syn | fin, syn | fin), action.drop()),
    rule(match.tcpFlags(syn | ack, syn), action.queue(queues.inboundSyn)),
    rule(match.tcpFlags(syn, syn), action.queue(queues.inboundSynAck)),
  ]);
}

const icmp6 = {
  routerSolicit: 133,
  routerAdvert: 134,
  neighbourSolicit: 135,
  neighbourAdvert: 136,
  redirect: 137,
  listenerQuery: 130,
  listenerReport: 131,
  listenerDone: 132,
  listenerReport2: 143,
} as const;

/**
 * Behind conntrack, before destination NAT. A SYN that the reader hasn't judged is dropped, so a missing rule at -300 closes. What
 * authorised connections carry, nearly everything, comes first; no rule in between would say otherwise of it. What the reader marks
 * goes through this chain once more (NF_REPEAT), which saves the mark and clears it: a packet that is only accepted goes on at the next
 * chain, and each chain costs every packet.
 */
function renderIn(interfaces: readonly string[], mark: MarkLayout): Chain {
  const { syn } = tcpFlag;
  const judged = match.mark(mark.stateMask, mark.judged);
  const authorising = match.mark(mark.stateMask, mark.authorised);
  const authorised = match.ctMark(mark.stateMask, mark.authorised);
  const clear = action.keepMark(mark.others);
  return base("in", "prerouting", -150, "drop", [
    rule(match.tcpFlags(syn, 0), authorised, action.accept()),
    rule(notFrom(interfaces), action.accept()),
    rule(match.ip6HopLimit(255), match.icmp6Type(discoveryIn), action.accept()),
    rule(
      match.ip6HopLimit(1),
      match.ip6Source(listenerSources),
      match.icmp6Type(listenerIn),
      action.accept(),
    ),
    rule(match.tcpFlags(syn, syn), judged, clear, action.accept()),
    rule(match.tcpFlags(syn, syn), action.drop()),
    rule(match.ctState("invalid"), action.drop()),
    rule(judged, clear, action.accept()),
    rule(authorising, save(mark), clear, action.accept()),
    rule(authorised, action.accept()),
    rule(match.protocol(tcp), action.queue(queues.inboundTcp)),
    rule(action.queue(queues.inboundOther)),
  ]);
}

/** What a socket's SO_MARK has of our bits goes before anything in the pod can save it to a connection. */
function renderOutRaw(mark: MarkLayout): Chain {
  return base("out_raw", "output", -300, "accept", [
    rule(match.markIs(0), action.accept()),
    rule(action.keepMark(mark.others)),
  ]);
}

/**
 * Last of all hooks of the IP stack, so behind source NAT. An outgoing SYN or SYN-ACK, which only the local stack makes, ends what its
 * connection was before. First, and once more for what the reader marks, as `renderIn`. All that gets out is sealed: that says that it has
 * seen the others, and the egress rules take it off. What goes to the reader is sealed before, and keeps the seal unless it is marked.
 */
function renderOut(
  interfaces: readonly string[],
  mark: MarkLayout,
  onLink: readonly string[],
  seal: number | undefined,
): Chain {
  const { syn } = tcpFlag;
  const authorised = match.ctMark(mark.stateMask, mark.authorised);
  const neighbours = ["fe80::/10", "ff02::/16", ...onLink].map(prefix6);
  const leave = seal === undefined ? action.keepMark(mark.others) : action.setMark(seal);
  return base("out", "postrouting", 0x7ffffffe, "drop", [
    rule(match.tcpFlags(syn, 0), authorised, to(interfaces), leave, action.accept()),
    rule(notTo(interfaces), action.accept()),
    rule(markedByReader(mark, seal), save(mark), leave, action.accept()),
    rule(
      match.ip6HopLimit(255),
      match.ip6Destination(neighbours),
      match.icmp6Type(discoveryOut),
      leave,
      action.accept(),
    ),
    rule(
      match.ip6HopLimit(1),
      match.ip6Destination(linkGroups),
      match.icmp6Type(listenerOut),
      leave,
      action.accept(),
    ),
    rule(match.tcpFlags(syn, syn), action.keepCtMark(mark.others), leave, action.queue(queues.outboundSyn)),
    rule(authorised, leave, action.accept()),
    rule(match.protocol(tcp), leave, action.queue(queues.outboundTcp)),
    rule(leave, action.queue(queues.outboundOther)),
  ]);
}

/** The reader's mark on a packet that was sealed. Without a seal: no connection's mark has that index, so a sidecar can't restore it. */
function markedByReader(mark: MarkLayout, seal: number | undefined): Statement {
  return seal === undefined
    ? match.mark(~mark.others, mark.authorising)
    : match.markIs(((seal & mark.others) | mark.authorising) >>> 0);
}

/** The connection is authorised: its mark says so from now on, and has no index. */
function save(mark: MarkLayout): Statement {
  return action.mergeCtMark(mark.others, mark.authorised);
}

/** The seal that a table of ours sets: 0 where its chain was altered, undefined where it has none. */
export function sealOf(table: Table | undefined): number | undefined {
  if (table === undefined) return undefined;
  const rules = table.chains.find(({ name }) => name === "out")?.rules ?? [];
  if (rules.length === 0) return 0;
  const [data] = rules.flatMap(({ expressions }) =>
    expressions.flatMap((expression) => (expression.kind === "immediate" ? [expression.data] : [])),
  );
  if (data === undefined) return undefined;
  return data.length === 4 ? new DataView(data.buffer, data.byteOffset).getUint32(0, true) : 0;
}

/** The mask that a table of ours was rendered with; undefined where it was altered, or isn't there. */
export function markMaskOf(table: Table | undefined): number | undefined {
  const clear = table?.chains.find(({ name }) => name === "out_raw")?.rules.at(-1);
  const kept = clear?.expressions.find((expression) => expression.kind === "bitwise")?.mask;
  if (kept?.length !== 4) return undefined;
  const mask = ~new DataView(kept.buffer, kept.byteOffset).getUint32(0, true) >>> 0;
  try {
    markLayout(mask);
  } catch {
    return undefined;
  }
  return mask;
}

const tcp = 6;
const discoveryIn = [
  icmp6.routerSolicit,
  icmp6.routerAdvert,
  icmp6.neighbourSolicit,
  icmp6.neighbourAdvert,
  icmp6.redirect,
];
const discoveryOut = [icmp6.routerSolicit, icmp6.neighbourSolicit, icmp6.neighbourAdvert];
const listenerIn = [icmp6.listenerQuery, icmp6.listenerReport, icmp6.listenerDone, icmp6.listenerReport2];
const listenerOut = [icmp6.listenerReport, icmp6.listenerDone, icmp6.listenerReport2];
const listenerSources = ["::/128", "fe80::/10"].map(prefix6);
const linkGroups = ["ff02::/16"].map(prefix6);

function prefix6(text: string): Prefix {
  const prefix = parsePrefix(text);
  if (prefix?.address.length === 16) return prefix;
  throw new RangeError(`${JSON.stringify(text)} is not an IPv6 prefix`);
}

function notFrom(interfaces: readonly string[]): Statement {
  const [only, ...more] = interfaces;
  return only !== undefined && more.length === 0
    ? match.notInputInterface(only)
    : match.notInputInterfaceIn(interfaces);
}

function notTo(interfaces: readonly string[]): Statement {
  const [only, ...more] = interfaces;
  return only !== undefined && more.length === 0
    ? match.notOutputInterface(only)
    : match.notOutputInterfaceIn(interfaces);
}

function to(interfaces: readonly string[]): Statement {
  const [only, ...more] = interfaces;
  return only !== undefined && more.length === 0
    ? match.outputInterface(only)
    : match.outputInterfaceIn(interfaces);
}

function base(
  name: string,
  hook: "prerouting" | "output" | "postrouting",
  priority: number,
  policy: Hook["policy"],
  rules: readonly Rule[],
): Chain {
  return { name, hook: { type: "filter", hook, priority, policy }, rules };
}
