/** Builds packets for tests, field by field, with a checksum of its own: shares no code with what it tests. */

export interface TcpFields {
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly flags?: number;
  readonly window?: number;
  readonly urgent?: number;
  /** Raw options, padded by the builder with zeros to 32 bits. */
  readonly options?: string;
  readonly payload?: string;
  /** Overrides the computed value, in words. */
  readonly dataOffset?: number;
}

interface IpFields {
  readonly version: 4 | 6;
  readonly source?: string;
  readonly destination?: string;
  /** IPv4 options or IPv6 extension headers, whole and already linked, as hex. */
  readonly extra?: string;
  /** IPv6: the fixed header's next header; defaults to `protocol`. */
  readonly nextHeader?: number;
  readonly protocol: number;
}

const defaults = {
  4: { source: "0a010002", destination: "0a010003" },
  6: { source: "fd000001000000000000000000000002", destination: "fd000001000000000000000000000003" },
} as const;

export const both = [{ version: 4 }, { version: 6 }] as const;

/** One's-complement sum, straight from RFC 1071, over BigInt words. */
export function referenceChecksum(...parts: readonly Uint8Array[]): number {
  const all = Buffer.concat(parts);
  const even = all.length % 2 === 0 ? all : Buffer.concat([all, Buffer.from([0])]);
  let sum = 0n;
  for (let i = 0; i < even.length; i += 2) sum += BigInt(even.readUInt16BE(i));
  while (sum > 0xffffn) sum = (sum >> 16n) + (sum & 0xffffn);
  return Number(0xffffn - sum);
}

export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(" ", ""), "hex");
}

function pad4(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}

/** An IP packet around `transport`, whose checksum field at `sumAt` (if any) is filled in. */
export function ipPacket(ip: IpFields, transport: Buffer, sumAt?: number): Buffer {
  const source = hex(ip.source ?? defaults[ip.version].source);
  const destination = hex(ip.destination ?? defaults[ip.version].destination);
  const pseudo = Buffer.alloc(4);
  pseudo.writeUInt16BE(ip.protocol, 0);
  pseudo.writeUInt16BE(transport.length, 2);
  const body = Buffer.from(transport);
  if (sumAt !== undefined) {
    const noPseudo = ip.version === 4 && ip.protocol === 1;
    const parts = noPseudo ? [body] : [source, destination, pseudo, body];
    body.writeUInt16BE(referenceChecksum(...parts), sumAt);
  }
  const header =
    ip.version === 4 ? header4(ip, source, destination, body) : header6(ip, source, destination, body);
  return Buffer.concat([header, body]);
}

function header4(ip: IpFields, source: Buffer, destination: Buffer, body: Buffer): Buffer {
  const options = pad4(hex(ip.extra ?? ""));
  const fixed = Buffer.alloc(12);
  fixed[0] = 0x40 | (5 + options.length / 4);
  fixed.writeUInt16BE(20 + options.length + body.length, 2);
  fixed.writeUInt16BE(0x1234, 4);
  fixed[6] = 0x40;
  fixed[8] = 63;
  fixed[9] = ip.protocol;
  const header = Buffer.concat([fixed, source, destination, options]);
  header.writeUInt16BE(referenceChecksum(header), 10);
  return header;
}

function header6(ip: IpFields, source: Buffer, destination: Buffer, body: Buffer): Buffer {
  const extra = hex(ip.extra ?? "");
  const fixed = Buffer.alloc(8);
  fixed.writeUInt32BE(0x60012345, 0);
  fixed.writeUInt16BE(extra.length + body.length, 4);
  fixed[6] = ip.nextHeader ?? ip.protocol;
  fixed[7] = 63;
  return Buffer.concat([fixed, source, destination, extra]);
}

export function tcpSegment(tcp: TcpFields): Buffer {
  const options = pad4(hex(tcp.options ?? ""));
  const header = Buffer.alloc(20);
  header.writeUInt16BE(tcp.sourcePort ?? 49152, 0);
  header.writeUInt16BE(tcp.destinationPort ?? 80, 2);
  header.writeUInt32BE(tcp.sequence ?? 0x01020304, 4);
  header.writeUInt32BE(tcp.acknowledgement ?? 0, 8);
  header[12] = (tcp.dataOffset ?? 5 + options.length / 4) << 4;
  header[13] = tcp.flags ?? 0x02;
  header.writeUInt16BE(tcp.window ?? 64240, 14);
  header.writeUInt16BE(tcp.urgent ?? 0, 18);
  return Buffer.concat([header, options, hex(tcp.payload ?? "")]);
}

export function tcpPacket(version: 4 | 6, tcp: TcpFields, ip: Partial<IpFields> = {}): Buffer {
  return ipPacket({ version, protocol: 6, ...ip }, tcpSegment(tcp), 16);
}

export function udpPacket(version: 4 | 6, payload: string, length?: number): Buffer {
  const body = Buffer.concat([Buffer.alloc(8), hex(payload)]);
  body.writeUInt16BE(5353, 0);
  body.writeUInt16BE(53, 2);
  body.writeUInt16BE(length ?? body.length, 4);
  return ipPacket({ version, protocol: 17 }, body, 6);
}

/** `rest` is the second word of the header, as hex: unused, identifier or MTU. */
export function icmpPacket(
  version: 4 | 6,
  type: number,
  code: number,
  rest: string,
  body: Uint8Array,
): Buffer {
  const message = Buffer.concat([Buffer.from([type, code, 0, 0]), hex(rest), body]);
  return ipPacket({ version, protocol: version === 4 ? 1 : 58 }, message, 2);
}
