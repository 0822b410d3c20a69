/** Owns the rewriting of a segment's TCP options: what leaves, what is added, and what gives way when the 40 bytes are full. Source: PROTOCOL.md, "Options". */
import { copyShort } from "./bytes.ts";
import { optionAccurateEcn, optionMarker, optionSack, optionSigned, optionTag } from "./packet.ts";
import type { Packet } from "./packet.ts";
import {
  experimentId,
  experimentKind,
  markerOptionLength,
  maximumOptionsLength,
  optionBitAt,
  optionLengthAt,
  tagOptionLength,
} from "./tcp-options.ts";

const tcpFixedLength = 20;
const noOperations = 0x100;
/** What leaves besides, one after the other, until the addition fits: alignment, then what is only advice to the peer. */
const givingWay = [
  0,
  noOperations,
  noOperations | optionSack,
  noOperations | optionSack | optionAccurateEcn,
] as const;

/** What is added: nothing, the marker, or the tag option with these 16 bytes. */
export type Addition = undefined | "marker" | Uint8Array;

/**
 * Writes the options of `packet`, less those of `removed` (`option…` bits), with `addition` as the last, to `into` at
 * `at`, padded with zeros to 32 bits. Returns the padded length, or -1 if the addition doesn't fit.
 *
 * In a segment with MD5 or AO no option but ours leaves, and nothing gives way.
 */
export function writeOptions(
  packet: Packet,
  removed: number,
  addition: Addition,
  into: Uint8Array,
  at: number,
): number {
  const signed = (packet.options & optionSigned) !== 0;
  const leaving = signed ? removed & (optionMarker | optionTag) : removed;
  if (addition === undefined && (packet.options & leaving) === 0) return copyAll(packet, into, at);
  const room = maximumOptionsLength - additionLength(addition);
  const levels = signed ? 1 : givingWay.length;
  for (let level = 0; level < levels; level++) {
    const kept = copyOptions(packet, leaving | (givingWay[level] as number), into, at);
    if (kept <= room) return finish(addition, into, at, kept);
  }
  return -1;
}

function additionLength(addition: Addition): number {
  if (addition === undefined) return 0;
  return addition === "marker" ? markerOptionLength : tagOptionLength;
}

function copyAll({ buffer, transportOffset, payloadOffset }: Packet, into: Uint8Array, at: number): number {
  copyShort(buffer, transportOffset + tcpFixedLength, payloadOffset, into, at);
  return payloadOffset - transportOffset - tcpFixedLength;
}

/** Copies the options up to the end of the list, without those that leave. Returns the bytes written. */
function copyOptions(packet: Packet, leaving: number, into: Uint8Array, at: number): number {
  const { buffer, transportOffset, payloadOffset } = packet;
  let written = at;
  for (let from = transportOffset + tcpFixedLength; from < payloadOffset;) {
    const length = optionLengthAt(buffer, from, payloadOffset);
    if (length <= 0) break;
    const bit = length === 1 ? noOperations : optionBitAt(buffer, from, length);
    if ((bit & leaving) === 0) {
      copyShort(buffer, from, from + length, into, written);
      written += length;
    }
    from += length;
  }
  return written - at;
}

/** Adds the addition and the padding. */
function finish(addition: Addition, into: Uint8Array, at: number, kept: number): number {
  let end = at + kept;
  if (addition !== undefined) {
    into[end] = experimentKind;
    into[end + 1] = additionLength(addition);
    into[end + 2] = experimentId >>> 8;
    into[end + 3] = experimentId & 0xff;
    if (addition !== "marker") copyShort(addition, 0, tagOptionLength - 4, into, end + 4);
    end += additionLength(addition);
  }
  while (((end - at) & 3) !== 0) into[end++] = 0;
  return end - at;
}
