/** TCP segments of tests: made from a few fields, and read back into what tests compare. */
import { Packet } from "../../enforcer/packet/packet.ts";
import { verifyChecksums } from "../../enforcer/packet/checksum.ts";
import { parsePacket } from "../../enforcer/packet/parse.ts";
import { formatAddress } from "../../enforcer/policy/addresses.ts";
import { tcpPacket } from "../packet/build.ts";
import { address } from "./fixtures.ts";

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;

/** MSS 1460, SACK permitted, timestamps, window scale 7: what Linux sends. */
export const synOptions = "020405b4 0402 080a 00000001 00000000 01 030307";
export const dataOptions = "0101 080a 00000001 00000001";

export interface Segment {
  readonly from: string;
  readonly fromPort: number;
  readonly to: string;
  readonly toPort: number;
  readonly flags: number;
  readonly seq: number;
  readonly ack: number;
  readonly window: number;
  /** Hex. */
  readonly options: string;
  readonly data: Buffer;
}

/** Everything but the addresses has a default. */
export type SegmentFields = Pick<Segment, "from" | "fromPort" | "to" | "toPort"> & Partial<Segment>;

function wireAddress(text: string): string {
  const bytes = Buffer.from(address(text));
  return bytes.subarray(text.includes(":") ? 0 : 12).toString("hex");
}

export function buildSegment(fields: SegmentFields): Buffer {
  return tcpPacket(
    fields.from.includes(":") ? 6 : 4,
    {
      sourcePort: fields.fromPort,
      destinationPort: fields.toPort,
      sequence: fields.seq ?? 0,
      acknowledgement: fields.ack ?? 0,
      flags: fields.flags ?? SYN,
      window: fields.window ?? 64240,
      options: fields.options ?? "",
      payload: (fields.data ?? Buffer.alloc(0)).toString("hex"),
    },
    { source: wireAddress(fields.from), destination: wireAddress(fields.to) },
  );
}

/** Throws on anything that isn't a whole TCP segment with right checksums: whatever the engine makes must be one. */
export function readSegment(bytes: Uint8Array): Segment {
  const packet = new Packet();
  const wrong = parsePacket(bytes, 0, bytes.length, packet) ?? verifyChecksums(packet);
  if (wrong !== undefined) throw new Error(`not a segment: ${wrong}`);
  if (packet.end !== bytes.length) throw new Error("bytes after the packet");
  const width = packet.version === 4 ? 4 : 16;
  const text = (offset: number): string => formatAddress(widen(bytes.subarray(offset, offset + width)));
  return {
    from: text(packet.sourceOffset),
    fromPort: packet.sourcePort,
    to: text(packet.destinationOffset),
    toPort: packet.destinationPort,
    flags: packet.flags,
    seq: packet.sequence,
    ack: packet.acknowledgement,
    window: packet.window,
    options: Buffer.from(bytes.subarray(packet.transportOffset + 20, packet.payloadOffset)).toString("hex"),
    data: Buffer.from(bytes.subarray(packet.payloadOffset, packet.end)),
  };
}

function widen(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 16) return bytes;
  return Buffer.concat([Buffer.alloc(10), Buffer.from([0xff, 0xff]), bytes]);
}

/** The same segment with other fields, checksums computed anew: what a forger sends. */
export function alter(bytes: Uint8Array, change: (segment: Segment) => Partial<Segment>): Buffer {
  const segment = readSegment(bytes);
  return buildSegment({ ...segment, ...change(segment) });
}

/** The data with one byte changed. */
export function flip(data: Buffer, at: number): Buffer {
  const copy = Buffer.from(data);
  const index = at < 0 ? copy.length + at : at;
  copy[index] = (copy[index] ?? 0) ^ 0x01;
  return copy;
}
