/** The real `Namespaces`: the kernel's, by way of netlink. */
import { closeFd, netnsCookie, openNetns, sameNetns } from "../../netlink/netns.ts";
import { formatPrefix, type Prefix } from "../../netlink/prefix.ts";
import { onLinkPrefixes, Route, type Link, type RouteEntry } from "../../netlink/route.ts";
import { LIMITS } from "./messages.ts";
import type { Namespaces, PodInterface } from "./namespaces.ts";

/** Keeps a descriptor of our own namespace, for `isOwn`, as long as the process lives. */
export function kernelNamespaces(): Namespaces {
  const own = openNetns("/proc/self/ns/net");
  return {
    open: openNetns,
    close: closeFd,
    cookie: (fd) => netnsCookie(fd).toString(),
    isOwn: (fd) => sameNetns(own, fd),
    inspect,
  };
}

function inspect(fd: number, ifname: string): PodInterface | undefined {
  const route = Route.open({ netns: fd });
  try {
    const link = route.links().find(({ name }) => name === ifname);
    if (link === undefined) return undefined;
    const routes = route.routes();
    return {
      mtu: leastMtu(link, routes),
      addresses: route.addresses(link.index).map(({ prefix }) => prefix.address),
      onLinkPrefixes6: onLinkPrefixes(routes, link.index, 6)
        .filter((prefix) => !isLinkLocal(prefix) && prefix.length > 0)
        .map(formatPrefix)
        .slice(0, LIMITS.addresses),
    };
  } finally {
    route.close();
  }
}

/** What fits whichever way out of the interface: a route may allow less than the interface does. */
function leastMtu(link: Link, routes: readonly RouteEntry[]): number {
  const own = routes.filter(({ index }) => index === link.index).map(({ mtu }) => mtu ?? link.mtu);
  return Math.min(link.mtu, ...own);
}

/** fe80::/10, which the rule set has anyway. */
function isLinkLocal({ address }: Prefix): boolean {
  return address[0] === 0xfe && ((address[1] ?? 0) & 0xc0) === 0x80;
}
