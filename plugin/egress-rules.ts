/**
 * Owns the rules at the last hook before the wire, which also sees what no other does: frames of packet sockets
 * (CAP_NET_RAW suffices for them). Pure; part of the rule set. Kernels from 5.16 on have the hook.
 */
import { action, match, netdevRule } from "../netlink/nftables/builder.ts";
import type { Statement } from "../netlink/nftables/builder.ts";
import type { Chain, Table } from "../netlink/nftables/model.ts";
import type { Prefix } from "../netlink/prefix.ts";

export interface EgressParameters {
  /** Where the set's interfaces are not all there (older kernels refuse a device that isn't): those that are. */
  readonly interfaceNames?: readonly string[];
  /**
   * 32 random bits, not 0, that a packet carries from the last of our hooks to this one. The kernel's copy is the only one:
   * whoever can read it there (CAP_NET_ADMIN) can take the rules out as well.
   */
  readonly seal: number;
  /** The pod's own addresses, 4 or 16 bytes each, without link-local ones. */
  readonly addresses: readonly Uint8Array[];
  /** Its link-local IPv6 addresses. */
  readonly linkLocals: readonly Uint8Array[];
}

const unspecified4 = new Uint8Array(4);
const unspecified6 = new Uint8Array(16);

/** What has a route, so comes from the IP stack, has passed our hooks, and has an own source; ARP with an own sender. */
export function renderEgress(name: string, interfaces: readonly string[], egress: EgressParameters): Table {
  const own4 = egress.addresses.filter(({ length }) => length === 4);
  const { interfaceNames: devices = interfaces } = egress;
  const hook = { type: "filter", hook: "egress", priority: 0, policy: "drop", devices } as const;
  // The address that nearly every packet has is compared before a set is looked through. ARP has no seal, but may have a route: on a
  // macvlan, a request has that of the packet that it is for.
  const passedHooks = [match.markIs(egress.seal), match.hasRoute()] as const;
  const rules = [
    ...usualSources(egress).map((source) =>
      netdevRule(...passedHooks, source, action.setMark(0), action.accept()),
    ),
    netdevRule(...passedHooks, action.goto(stackName)),
    netdevRule(match.arpSenderIp([unspecified4, ...own4]), action.accept()),
  ];
  return { family: "netdev", name, chains: [{ name: egressName, hook, rules }, renderStack(egress)] };
}

const egressName = "egress";
const stackName = "stack";

/** The first address of each family. */
function usualSources({ addresses }: EgressParameters): Statement[] {
  const first = (bytes: number) => addresses.filter(({ length }) => length === bytes).slice(0, 1);
  return [
    ...first(4).map((own) => match.ip4Source(hosts([own]))),
    ...first(16).map((own) => match.ip6Source(hosts([own]))),
  ];
}

function renderStack({ addresses, linkLocals }: EgressParameters): Chain {
  const own4 = addresses.filter(({ length }) => length === 4);
  const own6 = addresses.filter(({ length }) => length === 16);
  const rules = [
    netdevRule(action.setMark(0)),
    netdevRule(match.ip4Source(hosts([unspecified4, ...own4])), action.accept()),
    netdevRule(match.ip6Source(hosts([unspecified6, ...own6, ...linkLocals])), action.accept()),
    netdevRule(action.drop()),
  ];
  return { name: stackName, rules };
}

/** Each once. */
function hosts(addresses: readonly Uint8Array[]): Prefix[] {
  const unique = new Map(addresses.map((address) => [Buffer.from(address).toString("hex"), address]));
  return [...unique.values()].map((address) => ({ address, length: address.length * 8 }));
}

/** The interfaces that an egress table is on; none where there is no table. */
export function devicesOf(table: Table | undefined): readonly string[] {
  return table?.chains.find(({ name }) => name === egressName)?.hook?.devices ?? [];
}

/** Link-local addresses that an egress table lets out; none where there is no table. */
export function linkLocalsOf(table: Table | undefined): Uint8Array[] {
  return constantsOf(table, stackName).filter(isLinkLocal);
}

/** An egress table without these addresses; what else it does stays. `seal` is its own. */
export function withoutAddresses(table: Table, seal: number, leaving: readonly Uint8Array[]): Table {
  const stays = (address: Uint8Array): boolean =>
    address.some((byte) => byte !== 0) && !leaving.some((other) => Buffer.compare(other, address) === 0);
  const own = constantsOf(table, stackName).filter(stays);
  const own4 = own.filter(({ length }) => length === 4);
  const own6 = own.filter(({ length }) => length === 16);
  return renderEgress(table.name, devicesOf(table), {
    seal,
    addresses: [...own4, ...own6.filter((address) => !isLinkLocal(address))],
    linkLocals: own6.filter(isLinkLocal),
  });
}

/** What a chain's rules compare with. */
function constantsOf(table: Table | undefined, chain: string): Uint8Array[] {
  const rules = table?.chains.find(({ name }) => name === chain)?.rules ?? [];
  return rules.flatMap(({ expressions }) =>
    expressions.flatMap((expression) => {
      if (expression.kind === "compare") return [expression.data];
      return expression.kind === "lookup" ? expression.set.ranges.map(({ from }) => from) : [];
    }),
  );
}

/** An IPv6 address of fe80::/10. */
export function isLinkLocal(address: Uint8Array): boolean {
  return address.length === 16 && address[0] === 0xfe && ((address[1] ?? 0) & 0xc0) === 0x80;
}
