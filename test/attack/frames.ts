/** Frames and packets as an attacker writes them, as hexadecimal text; each holds "ATTACK:" and a word that tells it from all others. */
import { parseAddress } from "../../netlink/prefix.ts";

let serial = 0;

/** Eight characters, never the same twice in a process. */
export function newWord(): string {
  return String(serial++).padStart(8, "0");
}

/** Addresses of both ends of a frame. */
export interface Ends {
  /** Hardware addresses, as `ip` prints them. */
  readonly fromHardware: string;
  readonly toHardware: string;
  readonly from: string;
  readonly to: string;
}

function bytesOf(address: string): Buffer {
  const bytes = parseAddress(address);
  if (bytes === undefined) throw new Error(`${address} is no address`);
  return Buffer.from(bytes);
}

function hardware(text: string): Buffer {
  return Buffer.from(text.replaceAll(":", ""), "hex");
}

function u16(...values: readonly number[]): Buffer {
  return Buffer.from(values.flatMap((value) => [value >> 8, value & 0xff]));
}

function sign(word: string): Buffer {
  return Buffer.from(`ATTACK:${word}`);
}

/** A UDP datagram to port 9 in an IPv4 or IPv6 packet. The checksums are left out where IPv4 allows it. */
export function udpPacket(from: string, to: string, word: string): Buffer {
  const payload = sign(word);
  const udp = Buffer.concat([u16(4000, 9, 8 + payload.length, 0), payload]);
  if (from.includes(":")) return packet6(17, 64, from, to, udp);
  const header = Buffer.concat([u16(0x4500, 20 + udp.length, 1, 0, 0x4011, 0), bytesOf(from), bytesOf(to)]);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, udp]);
}

/** A neighbour advertisement: `from` claims to be where its frame comes from. The word stands behind it. */
export function advertisement(from: string, to: string, word: string): Buffer {
  const body = Buffer.concat([u16(136 << 8, 0, 0x2000, 0), bytesOf(from), sign(word)]);
  return packet6(58, 255, from, to, body);
}

function packet6(protocol: number, hops: number, from: string, to: string, body: Buffer): Buffer {
  const header = Buffer.concat([u16(0x6000, 0, body.length), Buffer.of(protocol, hops)]);
  return Buffer.concat([header, bytesOf(from), bytesOf(to), body]);
}

function checksum(header: Buffer): number {
  let sum = 0;
  for (let offset = 0; offset < header.length; offset += 2) sum += header.readUInt16BE(offset);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

/** An Ethernet frame; `tag` puts a VLAN header in between. */
export function frame(ends: Ends, type: number, body: Buffer, tag?: number): Buffer {
  const vlan = tag === undefined ? [] : [u16(0x8100, tag)];
  return Buffer.concat([hardware(ends.toHardware), hardware(ends.fromHardware), ...vlan, u16(type), body]);
}

/** An ARP answer in which `from` claims the frame's hardware address. */
export function arpAnswer(ends: Ends, word: string): Buffer {
  const parts = [
    hardware(ends.fromHardware),
    bytesOf(ends.from),
    hardware(ends.toHardware),
    bytesOf(ends.to),
  ];
  return frame(ends, 0x0806, Buffer.concat([u16(1, 0x0800, 0x0604, 2), ...parts, sign(word)]));
}
