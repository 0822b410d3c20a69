/** Malformed packets, as data: what each is, which way it goes, and what has to become of it. Sources: RFC 791, 8200, 9293, 768, 792, 4443. */
import type { Reason } from "../../enforcer/reason.ts";
import { hex, ipPacket, referenceChecksum, tcpPacket, tcpSegment } from "../packet/build.ts";

export type Family = 4 | 6;

/**
 * `reason`: it crosses a queue and the enforcer refuses it. `kernel`: the pod's kernel drops it before any queue, and counts it there.
 * `rules`: the pod's rules drop it without a queue; `watch:invalid` says whether because conntrack calls it invalid.
 */
export type Fate =
  { readonly reason: Reason } | { readonly kernel: string } | { readonly rules: "flags" | "invalid" };

export interface BadPacket {
  readonly name: string;
  readonly bytes: Buffer;
  /** The family of its frame, where its version field lies. */
  readonly family: Family;
  /** A struct virtio_net_hdr, for super-packets. */
  readonly offload?: Buffer;
  readonly fate: Fate;
  /** Pieces that the kernel cuts it into before a queue; 1 if absent. */
  readonly pieces?: number;
}

/** Hexadecimal addresses of both ends. */
export interface Ends {
  readonly source: string;
  readonly destination: string;
}

const FIN = 0x01;
const SYN = 0x02;
const RST = 0x04;
const ACK = 0x10;
const URG = 0x20;
const TCP = 6;
const UDP = 17;
const ICMP = 1;
const ICMP6 = 58;

const reason = (name: Reason): Fate => ({ reason: name });
const kernel = (counter: string): Fate => ({ kernel: counter });
const flags: Fate = { rules: "flags" };
const invalid: Fate = { rules: "invalid" };

/** The same packet with other bytes at `at`; an IPv4 header's checksum is right again, unless those bytes are it. */
function patched(bytes: Buffer, at: number, changed: string): Buffer {
  const copy = Buffer.from(bytes);
  hex(changed).copy(copy, at);
  return at === 10 ? copy : withHeaderSum(copy, (bytes[0] ?? 0) & 0x0f);
}

function withHeaderSum(bytes: Buffer, words: number): Buffer {
  if ((bytes[0] ?? 0) >> 4 !== 4) return bytes;
  bytes.writeUInt16BE(0, 10);
  bytes.writeUInt16BE(referenceChecksum(bytes.subarray(0, words * 4)), 10);
  return bytes;
}

/** What becomes of it where it comes in, and where it goes out, if that differs: `none` where the enforcer mends it and sends it. */
type Row = readonly [name: string, bytes: Buffer, inward: Fate, outward?: Fate | "none"];

/** TCP segments that are wrong in themselves, and so in both families. */
function segments(family: Family, ends: Ends, port: number): readonly Row[] {
  const tcp = (fields: Parameters<typeof tcpPacket>[1]): Buffer =>
    tcpPacket(family, { destinationPort: port, ...fields }, ends);
  const cut = (length: number, fields = {}): Buffer =>
    ipPacket(
      { version: family, protocol: TCP, ...ends },
      tcpSegment({ destinationPort: port, ...fields }).subarray(0, length),
    );
  const wrongSum = (fields: Parameters<typeof tcpPacket>[1]): Buffer => {
    const bytes = tcp(fields);
    const at = bytes.length - tcpSegment(fields).length + 16;
    bytes.writeUInt16BE(bytes.readUInt16BE(at) ^ 0xffff, at);
    return bytes;
  };
  const truncated = reason("packet-truncated");
  const malformed = reason("packet-malformed");
  const options = reason("packet-options");
  const wrongFlags = reason("packet-flags");
  const at0 = (field: "sourcePort" | "destinationPort"): Buffer => tcp({ [field]: 0 });
  return [
    ["no TCP header at all", cut(0), invalid, truncated],
    ["a TCP header of 4 bytes", cut(4), invalid, truncated],
    ["a TCP header of 13 bytes", cut(13), invalid, truncated],
    ["a SYN of 14 bytes", cut(14), truncated],
    ["a SYN of 19 bytes", cut(19), truncated],
    ["an ACK of 19 bytes", cut(19, { flags: ACK }), invalid, truncated],
    ["a SYN, data offset 0", tcp({ dataOffset: 0 }), malformed],
    ["a SYN, data offset 4", tcp({ dataOffset: 4 }), malformed],
    ["an ACK, data offset 4", tcp({ dataOffset: 4, flags: ACK }), invalid, malformed],
    ["a SYN, data offset behind its end", tcp({ dataOffset: 6 }), truncated],
    ["an ACK, data offset behind its end", tcp({ dataOffset: 15, flags: ACK }), invalid, truncated],
    ["an option of length 0", tcp({ options: "0200 0000" }), options],
    ["an option of length 1", tcp({ options: "0201 0000" }), options],
    ["an option that overruns", tcp({ options: "0101 0204" }), options],
    ["an option without its length", tcp({ options: "0101 0102" }), options],
    ["an unknown option of length 255", tcp({ options: "4dff 0000" }), options],
    ["our marker twice", tcp({ options: "fd047472 fd047472" }), options],
    ["our ExID with a length that is not ours", tcp({ options: "fd067472 0000 0000" }), options],
    ["no flags", tcp({ flags: 0 }), invalid, wrongFlags],
    ["FIN alone", tcp({ flags: FIN }), invalid, wrongFlags],
    ["all flags", tcp({ flags: 0x3f }), flags, wrongFlags],
    ["SYN and FIN", tcp({ flags: SYN | FIN }), flags, wrongFlags],
    ["SYN and RST", tcp({ flags: SYN | RST }), flags, wrongFlags],
    ["SYN, ACK and RST", tcp({ flags: SYN | ACK | RST }), flags, wrongFlags],
    ["SYN and URG", tcp({ flags: SYN | URG }), wrongFlags],
    ["RST and FIN", tcp({ flags: RST | FIN }), invalid, wrongFlags],
    ["source port 0", at0("sourcePort"), reason("packet-address")],
    ["destination port 0", at0("destinationPort"), reason("packet-address")],
    ["a SYN with a wrong checksum", wrongSum({}), reason("packet-checksum"), "none"],
    ["an ACK with a wrong checksum", wrongSum({ flags: ACK }), invalid, reason("no-connection")],
    ["a SYN with 1,400 bytes of data", tcp({ payload: "5a".repeat(1400) }), reason("token-missing"), "none"],
    [
      "a SYN-ACK that answers nothing",
      tcp({ flags: SYN | ACK, acknowledgement: 7 }),
      reason("ack-unexpected"),
      wrongFlags,
    ],
    [
      "data of no connection",
      tcp({ flags: ACK, acknowledgement: 7, payload: "5a5a", sourcePort: 5 }),
      reason("no-connection"),
    ],
    ["a RST of no connection", tcp({ flags: RST, sourcePort: 6 }), invalid, reason("reset-invalid")],
  ];
}

function datagrams(family: Family, ends: Ends): readonly Row[] {
  const udp = (length: number, claimed: number): Buffer => {
    const body = Buffer.alloc(length);
    hex("14e9 0035").copy(body);
    if (length >= 6) body.writeUInt16BE(claimed, 4);
    return ipPacket({ version: family, protocol: UDP, ...ends }, body, length >= 8 ? 6 : undefined);
  };
  const foreign = family === 4 ? ICMP6 : ICMP;
  const icmp = ipPacket({ version: family, protocol: foreign, ...ends }, hex("0800 0000 0001 0001"));
  return [
    ["a UDP header of 7 bytes", udp(7, 7), invalid, reason("packet-truncated")],
    ["a UDP length below 8", udp(12, 7), invalid, reason("packet-malformed")],
    ["a UDP length behind the end", udp(12, 400), invalid, reason("packet-truncated")],
    ["a datagram that no rule allows", udp(12, 12), reason("no-address-rule")],
    ["the other family's ICMP", icmp, invalid, reason("protocol-unsupported")],
    [
      "SCTP with a wrong checksum",
      ipPacket({ version: family, protocol: 132, ...ends }, hex("1389 1389 00000001 00000000 0a000004")),
      invalid,
      reason("no-address-rule"),
    ],
    [
      "protocol 99",
      ipPacket({ version: family, protocol: 99, ...ends }, hex("00000000")),
      reason("no-address-rule"),
    ],
  ];
}

function errors(family: Family, ends: Ends): readonly Row[] {
  const swapped = { source: ends.destination, destination: ends.source };
  const [type, code] = family === 4 ? [3, 3] : [1, 4];
  const quoting = (quote: Buffer): Buffer => {
    const message = Buffer.concat([Buffer.from([type, code, 0, 0, 0, 0, 0, 0]), quote]);
    return ipPacket({ version: family, protocol: family === 4 ? ICMP : ICMP6, ...ends }, message, 2);
  };
  const syn = tcpPacket(family, {}, swapped);
  const header = family === 4 ? 20 : 40;
  const fragment = family === 4 ? patched(syn, 6, "0001") : syn;
  const cases: Row[] = [
    ["an ICMP error about nothing of ours", quoting(syn), invalid, reason("icmp-unrelated")],
    [
      "an ICMP error that quotes half a header",
      quoting(syn.subarray(0, header - 4)),
      invalid,
      reason("packet-truncated"),
    ],
    [
      "an ICMP error that quotes no ports",
      quoting(syn.subarray(0, header + 2)),
      invalid,
      reason("packet-truncated"),
    ],
    [
      "an ICMP error that quotes another version",
      quoting(patched(syn, 0, "a5")),
      invalid,
      reason("packet-malformed"),
    ],
  ];
  if (family === 4)
    cases.push([
      "an ICMP error that quotes a fragment",
      quoting(fragment),
      invalid,
      reason("packet-fragment"),
    ]);
  return cases;
}

/** IPv4 headers. The kernel looks at lengths and checksum first, and at options only behind our hooks. */
function headers4(ends: Ends, port: number): readonly Row[] {
  const syn = tcpPacket(4, { destinationPort: port }, ends);
  const withOptions = (options: string): Buffer =>
    tcpPacket(4, { destinationPort: port }, { ...ends, extra: options });
  const fromLoopback = tcpPacket(4, { destinationPort: port }, { ...ends, source: "7f000001" });
  const bad = kernel("IpInHdrErrors");
  return [
    ["version 5", patched(syn, 0, "55"), bad],
    ["a header of 16 bytes", patched(syn, 0, "44"), bad],
    ["a header longer than the packet", patched(syn, 0, "4f"), bad],
    ["10 bytes of a header", syn.subarray(0, 10), bad],
    ["a length behind the frame's end", patched(syn, 2, "0400"), kernel("IpExtInTruncatedPkts")],
    ["a length shorter than the header", patched(syn, 2, "0010"), bad],
    ["a wrong header checksum", patched(syn, 10, "dead"), kernel("IpExtInCsumErrors")],
    ["an IP option of length 0", withOptions("8200 0000"), reason("packet-options")],
    ["an IP option of length 1", withOptions("8201 0000"), reason("packet-options")],
    ["an IP option that overruns", withOptions("0101 8208"), reason("packet-options")],
    ["a loose source route", withOptions("8307 04 0a0a0a0a 00"), reason("packet-address")],
    ["a strict source route", withOptions("8907 04 0a0a0a0a 00"), reason("packet-address")],
    ["a source of 127.0.0.1", fromLoopback, reason("no-address-rule")],
  ];
}

const DESTINATION_OPTIONS = 60;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const MOBILITY = 135;
const AUTHENTICATION = 51;

/** `count` headers of a kind, the last of which is followed by TCP. */
function chain(kind: number, count: number): string {
  const one = (next: number): string => Buffer.from([next, 0, 1, 4, 0, 0, 0, 0]).toString("hex");
  return one(kind).repeat(count - 1) + one(TCP);
}

function headers6(ends: Ends, port: number): readonly Row[] {
  const syn = tcpPacket(6, { destinationPort: port }, ends);
  const extended = (nextHeader: number, extra: string): Buffer =>
    tcpPacket(6, { destinationPort: port }, { ...ends, nextHeader, extra });
  const mapped = tcpPacket(
    6,
    { destinationPort: port },
    { ...ends, source: `${"00".repeat(10)}ffff0af40109` },
  );
  const extension = reason("packet-extension");
  return [
    ["version 5", patched(syn, 0, "50"), kernel("Ip6InHdrErrors")],
    ["20 bytes of a header", syn.subarray(0, 20), kernel("Ip6InHdrErrors")],
    ["a length behind the frame's end", patched(syn, 4, "0400"), kernel("Ip6InTruncatedPkts")],
    ["a mapped IPv4 source", mapped, reason("packet-address")],
    ["nine extension headers", extended(DESTINATION_OPTIONS, chain(DESTINATION_OPTIONS, 9)), extension],
    ["forty extension headers", extended(DESTINATION_OPTIONS, chain(DESTINATION_OPTIONS, 40)), extension],
    [
      "hop-by-hop options that are not first",
      extended(DESTINATION_OPTIONS, `0000010400000000${chain(HOP_BY_HOP, 1)}`),
      extension,
    ],
    ["a mobility header", extended(MOBILITY, chain(MOBILITY, 1)), extension],
    ["an authentication header", extended(AUTHENTICATION, "0601 0000 00000001 00000001"), extension],
    [
      "a routing header with segments left",
      extended(ROUTING, "0602 0001 00000000 fd000244000100000000000000000009"),
      reason("packet-address"),
    ],
    [
      "a hop-by-hop header that overruns",
      extended(HOP_BY_HOP, "06ff 0104 00000000"),
      kernel("Ip6InHdrErrors"),
      reason("packet-truncated"),
    ],
    [
      "a destination header that overruns",
      extended(DESTINATION_OPTIONS, "06ff 0104 00000000"),
      invalid,
      reason("packet-truncated"),
    ],
  ];
}

/** Of a SYN without a token. The first of two fragments waits; what the last makes whole is judged as one. */
function fragments(ends: Ends, port: number): readonly Row[] {
  const syn = tcpPacket(4, { destinationPort: port, payload: "5a".repeat(64) }, ends);
  const fragment = (offset: number, more: boolean, from: number, to: number): Buffer => {
    const bytes = Buffer.concat([syn.subarray(0, 20), syn.subarray(20 + from, 20 + to)]);
    bytes.writeUInt16BE(bytes.length, 2);
    bytes.writeUInt16BE((more ? 0x2000 : 0) | (offset / 8), 6);
    return withHeaderSum(bytes, 5);
  };
  const last = fragment(40, false, 40, 84);
  return [
    ["a first fragment", fragment(0, true, 0, 40), kernel("IpReasmReqds")],
    ["its last fragment", last, reason("token-missing")],
    ["a fragment that ends behind 65,535", fragment(0x1fff * 8, false, 40, 84), kernel("IpReasmReqds")],
  ];
}

/** Everything that is sent to the pod. */
export function inbound(family: Family, ends: Ends, port: number): readonly BadPacket[] {
  const both = [...segments(family, ends, port), ...datagrams(family, ends), ...errors(family, ends)];
  const own = family === 4 ? [...headers4(ends, port), ...fragments(ends, port)] : headers6(ends, port);
  return [...both, ...own].map(([name, bytes, fate]) => ({ name, bytes, family, fate }));
}

/** Everything that the pod sends itself, by a raw socket; such a socket makes the IPv4 header's checksum and length anew. */
export function outbound(family: Family, ends: Ends, port: number): readonly BadPacket[] {
  const both = [...segments(family, ends, port), ...datagrams(family, ends), ...errors(family, ends)];
  const own = family === 4 ? headers4(ends, port).slice(7, 12) : headers6(ends, port).slice(4);
  return [...both, ...own].flatMap(([name, bytes, inward, outward = inward]) =>
    outward === "none" ? [] : [{ name, bytes, family, fate: outward }],
  );
}

/** A struct virtio_net_hdr: the kernel makes segments of `size` bytes of the packet, and their checksums. */
function offload(type: number, headers: number, size: number, start: number, checksumAt: number): Buffer {
  const header = Buffer.alloc(10);
  header[0] = 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM
  header[1] = type;
  for (const [index, value] of [headers, size, start, checksumAt].entries())
    header.writeUInt16LE(value, 2 + 2 * index);
  return header;
}

const GSO_TCP4 = 1;
const GSO_TCP6 = 4;
const ETHERNET = 14;

/** 20,000 bytes in one piece, as a driver hands them over: the kernel cuts them before the queue, and each piece is judged. */
export function superPackets(family: Family, ends: Ends, port: number): readonly BadPacket[] {
  const header = family === 4 ? 20 : 40;
  const make = (fields: Parameters<typeof tcpPacket>[1]): Pick<BadPacket, "bytes" | "offload"> => {
    const bytes = tcpPacket(family, { destinationPort: port, payload: "5a".repeat(20_000), ...fields }, ends);
    const start = ETHERNET + header;
    // Unfinished: the sum of the pseudo-header alone, to which the kernel adds each piece's own.
    const pseudo = Buffer.from([0, TCP, 0, 0]);
    pseudo.writeUInt16BE(bytes.length - header, 2);
    bytes.writeUInt16BE(
      0xffff ^ referenceChecksum(hex(ends.source), hex(ends.destination), pseudo),
      header + 16,
    );
    return {
      bytes,
      offload: offload(family === 4 ? GSO_TCP4 : GSO_TCP6, start + 20, 1_400, start, 16),
    };
  };
  return [
    {
      name: "a SYN of 20,000 bytes",
      family,
      ...make({ sourcePort: 7 }),
      fate: reason("token-missing"),
      pieces: 15,
    },
    {
      name: "an ACK of 20,000 bytes",
      family,
      ...make({ sourcePort: 8, flags: ACK, acknowledgement: 1 }),
      fate: reason("no-connection"),
      pieces: 15,
    },
  ];
}
