/** What rtnetlink tells about links, addresses and routes; it changes nothing. Source: rtnetlink(7), linux/rtnetlink.h, if_link.h. */
import { Attributes, required, viewOf } from "./cursor.ts";
import { type Decoded, decoding, type Message } from "./message.ts";
import type { Prefix } from "./prefix.ts";
import { NETLINK_ROUTE, NetlinkSocket, type SocketOptions, understood } from "./socket.ts";

const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;

const ifinfomsgBytes = 16;
const ifaddrmsgBytes = 8;
const rtmsgBytes = 12;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_LINKINFO = 18;
const IFLA_LINK_NETNSID = 37;
const IFLA_INFO_KIND = 1;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_METRICS = 8;
const RTA_VIA = 18;
const RTA_TABLE = 15;
const RTAX_MTU = 2;

const RTN_UNICAST = 1;
const RT_TABLE_MAIN = 254;
const AF_INET = 2;
const AF_INET6 = 10;

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly mtu: number;
  /** IFF_* bits: 1 up, 8 loopback, 0x40 running. */
  readonly flags: number;
  /** Hardware address; empty if it has none. */
  readonly address: Uint8Array;
  /** Such as "veth"; undefined for hardware and loopback. */
  readonly kind: string | undefined;
  /** Index of a veth's other end, in that end's namespace; of the lower device for others. */
  readonly peerIndex: number | undefined;
  /** This namespace's number for the one that the peer is in; undefined if it is in this one. */
  readonly peerNetnsId: number | undefined;
}

export interface InterfaceAddress {
  readonly index: number;
  /** The interface's own address and the length of its prefix. */
  readonly prefix: Prefix;
  /** 0 global, 253 link, 254 host. */
  readonly scope: number;
}

export interface RouteEntry {
  /** The default route has length 0. */
  readonly destination: Prefix;
  /** Undefined for a route of several paths, and for one without interface. */
  readonly index: number | undefined;
  /** Goes by way of a router; its address if it is of the same family. */
  readonly viaGateway: boolean;
  readonly gateway: Uint8Array | undefined;
  readonly table: number;
  /** What the route says of packets' size, in bytes; undefined if it leaves that to the interface. */
  readonly mtu: number | undefined;
  /** RTN_*: 1 unicast, 2 local, 3 broadcast, 5 multicast. */
  readonly type: number;
}

export class Route {
  readonly #socket: NetlinkSocket;

  static open(options: SocketOptions = {}): Route {
    return new Route(options);
  }

  private constructor(options: SocketOptions) {
    this.#socket = new NetlinkSocket(NETLINK_ROUTE, options);
  }

  close(): void {
    this.#socket.close();
  }

  links(): Link[] {
    return this.#list("list links", RTM_GETLINK, ifinfomsgBytes, RTM_NEWLINK, decodeLink);
  }

  /** Of one interface, or of all. */
  addresses(index?: number): InterfaceAddress[] {
    const all = this.#list("list addresses", RTM_GETADDR, ifaddrmsgBytes, RTM_NEWADDR, decodeAddress);
    return index === undefined ? all : all.filter((address) => address.index === index);
  }

  /** IPv4 and IPv6 routes of all tables. */
  routes(): RouteEntry[] {
    return this.#list("list routes", RTM_GETROUTE, rtmsgBytes, RTM_NEWROUTE, decodeRoute);
  }

  #list<T>(
    operation: string,
    request: number,
    headerBytes: number,
    answer: number,
    decode: (payload: Uint8Array) => Decoded<T | undefined>,
  ): T[] {
    const header = new Array<number>(headerBytes).fill(0);
    const messages: Message[] = this.#socket.dump(operation, request, (writer) => writer.header(...header));
    return messages
      .filter(({ type }) => type === answer)
      .map(({ payload }) => understood(operation, decode(payload)))
      .filter((value) => value !== undefined);
  }
}

/** Destinations that an interface reaches without a router, by the main table. */
export function onLinkPrefixes(routes: readonly RouteEntry[], index: number, version: 4 | 6): Prefix[] {
  const bytes = version === 4 ? 4 : 16;
  return routes
    .filter((route) => route.index === index && !route.viaGateway)
    .filter((route) => route.table === RT_TABLE_MAIN && route.type === RTN_UNICAST)
    .map(({ destination }) => destination)
    .filter(({ address }) => address.length === bytes);
}

/** The payload of an RTM_NEWLINK. */
export function decodeLink(payload: Uint8Array): Decoded<Link> {
  return decoding(() => {
    const header = headerOf(payload, ifinfomsgBytes);
    const attributes = new Attributes(payload.subarray(ifinfomsgBytes));
    return {
      index: header.getInt32(4, true),
      name: attributes.requiredString(IFLA_IFNAME),
      mtu: required(attributes.u32(IFLA_MTU), "MTU"),
      flags: header.getUint32(8, true),
      address: attributes.bytes(IFLA_ADDRESS)?.slice() ?? new Uint8Array(0),
      kind: attributes.nested(IFLA_LINKINFO)?.string(IFLA_INFO_KIND),
      peerIndex: attributes.u32(IFLA_LINK),
      peerNetnsId: attributes.u32(IFLA_LINK_NETNSID),
    };
  });
}

/** The payload of an RTM_NEWADDR; no value for other families than IP. */
export function decodeAddress(payload: Uint8Array): Decoded<InterfaceAddress | undefined> {
  return decoding(() => {
    const header = headerOf(payload, ifaddrmsgBytes);
    const bytes = addressBytes(header.getUint8(0));
    if (bytes === undefined) return undefined;
    const attributes = new Attributes(payload.subarray(ifaddrmsgBytes));
    const address = attributes.bytes(IFA_LOCAL) ?? attributes.requiredBytes(IFA_ADDRESS);
    return {
      index: header.getUint32(4, true),
      prefix: prefixOf(address, bytes, header.getUint8(1)),
      scope: header.getUint8(3),
    };
  });
}

/** The payload of an RTM_NEWROUTE; no value for other families than IP. */
export function decodeRoute(payload: Uint8Array): Decoded<RouteEntry | undefined> {
  return decoding(() => {
    const header = headerOf(payload, rtmsgBytes);
    const bytes = addressBytes(header.getUint8(0));
    if (bytes === undefined) return undefined;
    const attributes = new Attributes(payload.subarray(rtmsgBytes));
    const destination = attributes.bytes(RTA_DST) ?? new Uint8Array(bytes);
    const gateway = attributes.bytes(RTA_GATEWAY)?.slice();
    return {
      destination: prefixOf(destination, bytes, header.getUint8(1)),
      index: attributes.u32(RTA_OIF),
      viaGateway: gateway !== undefined || attributes.bytes(RTA_VIA) !== undefined,
      gateway,
      table: attributes.u32(RTA_TABLE) ?? header.getUint8(4),
      mtu: attributes.nested(RTA_METRICS)?.u32(RTAX_MTU),
      type: header.getUint8(7),
    };
  });
}

function headerOf(payload: Uint8Array, bytes: number): DataView {
  required(payload[bytes - 1], "message header");
  return viewOf(payload);
}

function addressBytes(family: number): 4 | 16 | undefined {
  if (family === AF_INET) return 4;
  return family === AF_INET6 ? 16 : undefined;
}

function prefixOf(address: Uint8Array, bytes: number, length: number): Prefix {
  required(address.length === bytes && length <= bytes * 8 ? true : undefined, "whole address");
  return { address: address.slice(), length };
}
