/** Entries of the connection tracking table: read, marked, deleted. Source: linux/netfilter/nfnetlink_conntrack.h. */
import { Attributes, type MessageWriter, required } from "./cursor.ts";
import { NetlinkError } from "./error.ts";
import { ENOENT } from "./errno.ts";
import { type Decoded, decoding } from "./message.ts";
import { NETLINK_NETFILTER, NetlinkSocket, type SocketOptions, understood } from "./socket.ts";

const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_NEW = NFNL_SUBSYS_CTNETLINK << 8;
const IPCTNL_MSG_CT_GET = IPCTNL_MSG_CT_NEW | 1;
const IPCTNL_MSG_CT_DELETE = IPCTNL_MSG_CT_NEW | 2;

const AF_UNSPEC = 0;
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const portProtocols: ReadonlySet<number> = new Set([6, 17, 33, 132, 136]);

const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_PROTOINFO = 4;
const CTA_TIMEOUT = 7;
const CTA_MARK = 8;
const CTA_ID = 12;
const CTA_MARK_MASK = 21;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const CTA_PROTO_ICMP_ID = 4;
const CTA_PROTO_ICMPV6_ID = 7;
const CTA_PROTOINFO_TCP = 1;
const CTA_PROTOINFO_TCP_STATE = 1;

/** enum tcp_conntrack, in its order. */
const tcpStates = [
  "none",
  "synSent",
  "synRecv",
  "established",
  "finWait",
  "closeWait",
  "lastAck",
  "timeWait",
  "close",
  "synSent2",
] as const;
export type TcpState = (typeof tcpStates)[number];

/** One direction of a flow. */
export interface FlowTuple {
  /** IP protocol number. */
  readonly protocol: number;
  /** 4 or 16 bytes; both addresses alike. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** 0 for protocols without ports. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** For ICMP and ICMPv6 only. */
  readonly icmp?: { readonly id: number; readonly type: number; readonly code: number };
}

export interface ConntrackEntry {
  /** As the first packet came. */
  readonly original: FlowTuple;
  /** As replies come. */
  readonly reply: FlowTuple;
  readonly mark: number;
  /** IPS_* bits: 2 replies were seen, 4 assured, 8 confirmed. */
  readonly status: number;
  readonly timeoutSeconds: number;
  /** The kernel's number of the entry; another entry of the same tuple has another. */
  readonly id: number;
  /** For TCP only. */
  readonly tcpState: TcpState | undefined;
}

export class Conntrack {
  readonly #socket: NetlinkSocket;

  static open(options: SocketOptions = {}): Conntrack {
    return new Conntrack(options);
  }

  private constructor(options: SocketOptions) {
    this.#socket = new NetlinkSocket(NETLINK_NETFILTER, options);
  }

  close(): void {
    this.#socket.close();
  }

  /** The entry that has `tuple` as its original or its reply direction. */
  get(tuple: FlowTuple): ConntrackEntry | undefined {
    const operation = "read conntrack entry";
    const found = missingAsUndefined(() =>
      this.#socket.request(operation, IPCTNL_MSG_CT_GET, 0, (writer) => encodeRequest(writer, tuple)),
    );
    const answer = found?.find(({ type }) => type === IPCTNL_MSG_CT_NEW);
    return answer === undefined ? undefined : understood(operation, decodeEntry(answer.payload));
  }

  /** mark = (mark & ~mask) | (value & mask), for the entry of `tuple` (either direction). False: there is none. */
  setMark(tuple: FlowTuple, value: number, mask: number): boolean {
    const answers = missingAsUndefined(() =>
      this.#socket.request("mark conntrack entry", IPCTNL_MSG_CT_NEW, 0, (writer) => {
        encodeRequest(writer, tuple);
        writer.u32be(CTA_MARK, (value & mask) >>> 0);
        writer.u32be(CTA_MARK_MASK, mask);
      }),
    );
    return answers !== undefined;
  }

  /** Forgets the entry of `tuple` (either direction). False: there is none. */
  delete(tuple: FlowTuple): boolean {
    const answers = missingAsUndefined(() =>
      this.#socket.request("delete conntrack entry", IPCTNL_MSG_CT_DELETE, 0, (writer) =>
        encodeRequest(writer, tuple),
      ),
    );
    return answers !== undefined;
  }

  /** All entries, or those with (mark & `mask`) == `value`. */
  list(only?: { readonly value: number; readonly mask: number }): ConntrackEntry[] {
    const operation = "list conntrack entries";
    const messages = this.#socket.dump(operation, IPCTNL_MSG_CT_GET, (writer) => {
      writer.nfgen(AF_UNSPEC, 0);
      if (only === undefined) return;
      writer.u32be(CTA_MARK, only.value);
      writer.u32be(CTA_MARK_MASK, only.mask);
    });
    return messages.map(({ payload }) => understood(operation, decodeEntry(payload)));
  }
}

/** Family and tuple: without a tuple the kernel would take all entries for meant. */
export function encodeRequest(writer: MessageWriter, tuple: FlowTuple): void {
  const { source, destination, protocol } = tuple;
  if (source.length !== destination.length || (source.length !== 4 && source.length !== 16)) {
    throw new RangeError("a flow has two addresses of 4 or two of 16 bytes");
  }
  const isV4 = source.length === 4;
  writer.nfgen(isV4 ? AF_INET : AF_INET6, 0);
  writer.nest(CTA_TUPLE_ORIG, () => {
    writer.nest(CTA_TUPLE_IP, () => {
      writer.bytes(isV4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, source);
      writer.bytes(isV4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, destination);
    });
    writer.nest(CTA_TUPLE_PROTO, () => {
      writer.u8(CTA_PROTO_NUM, protocol);
      encodePorts(writer, tuple);
    });
  });
}

function encodePorts(
  writer: MessageWriter,
  { protocol, sourcePort, destinationPort, icmp }: FlowTuple,
): void {
  if (portProtocols.has(protocol)) {
    writer.u16be(CTA_PROTO_SRC_PORT, sourcePort);
    writer.u16be(CTA_PROTO_DST_PORT, destinationPort);
  }
  const first = icmpAttribute(protocol);
  if (first === undefined || icmp === undefined) return;
  writer.u16be(first, icmp.id);
  writer.u8(first + 1, icmp.type);
  writer.u8(first + 2, icmp.code);
}

/** The id's attribute; type and code have the next two numbers. */
function icmpAttribute(protocol: number): number | undefined {
  if (protocol === IPPROTO_ICMP) return CTA_PROTO_ICMP_ID;
  return protocol === IPPROTO_ICMPV6 ? CTA_PROTO_ICMPV6_ID : undefined;
}

/** The payload of an IPCTNL_MSG_CT_NEW. */
export function decodeEntry(payload: Uint8Array): Decoded<ConntrackEntry> {
  return decoding(() => {
    required(payload[3], "nfgenmsg");
    const attributes = new Attributes(payload.subarray(4));
    const tcp = attributes.nested(CTA_PROTOINFO)?.nested(CTA_PROTOINFO_TCP);
    return {
      original: decodeTuple(attributes.requiredNested(CTA_TUPLE_ORIG)),
      reply: decodeTuple(attributes.requiredNested(CTA_TUPLE_REPLY)),
      mark: attributes.u32be(CTA_MARK) ?? 0,
      status: attributes.u32be(CTA_STATUS) ?? 0,
      timeoutSeconds: attributes.u32be(CTA_TIMEOUT) ?? 0,
      id: attributes.u32be(CTA_ID) ?? 0,
      tcpState: tcpStates[tcp?.u8(CTA_PROTOINFO_TCP_STATE) ?? -1],
    };
  });
}

function decodeTuple(tuple: Attributes): FlowTuple {
  const ip = tuple.requiredNested(CTA_TUPLE_IP);
  const proto = tuple.requiredNested(CTA_TUPLE_PROTO);
  const protocol = required(proto.u8(CTA_PROTO_NUM), "protocol");
  const icmp = decodeIcmp(proto, protocol);
  return {
    protocol,
    source: decodeAddress(ip, CTA_IP_V4_SRC, CTA_IP_V6_SRC),
    destination: decodeAddress(ip, CTA_IP_V4_DST, CTA_IP_V6_DST),
    sourcePort: proto.u16be(CTA_PROTO_SRC_PORT) ?? 0,
    destinationPort: proto.u16be(CTA_PROTO_DST_PORT) ?? 0,
    ...(icmp === undefined ? {} : { icmp }),
  };
}

function decodeAddress(ip: Attributes, v4: number, v6: number): Uint8Array {
  const address = required(ip.bytes(v4) ?? ip.bytes(v6), "address");
  const wanted = ip.bytes(v4) === undefined ? 16 : 4;
  return required(address.length === wanted ? address.slice() : undefined, "whole address");
}

function decodeIcmp(proto: Attributes, protocol: number): FlowTuple["icmp"] {
  const first = icmpAttribute(protocol);
  if (first === undefined) return undefined;
  return { id: proto.u16be(first) ?? 0, type: proto.u8(first + 1) ?? 0, code: proto.u8(first + 2) ?? 0 };
}

function missingAsUndefined<T>(request: () => T): T | undefined {
  try {
    return request();
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === ENOENT) return undefined;
    throw error;
  }
}
