/** Owns the TCP options that matter here: their kinds, our own two, and the strict walk over them. Sources: RFC 9293 §3.2, 6994, PROTOCOL.md. */
import type { Reason } from "../reason.ts";
import { readU8, readU16 } from "./bytes.ts";
import {
  optionAccurateEcn,
  optionFastOpen,
  optionMarker,
  optionMultipath,
  optionSack,
  optionSigned,
  optionTag,
} from "./packet.ts";
import type { Packet } from "./packet.ts";

/** RFC 6994 experimental option with the 16-bit experiment identifier "tr". */
export const experimentKind = 253;
export const experimentId = 0x7472;
export const markerOptionLength = 4;
export const tagOptionLength = 20;
/** RFC 9293: the data offset counts at most 15 words, of which 5 are the fixed header. */
export const maximumOptionsLength = 40;

const endOfOptions = 0;
const noOperation = 1;
const fastOpenExperimentId = 0xf989;

/**
 * Length of the option at `at`: 1 for a NOP, 0 for the end of the list, -1 if it is malformed (length 0, 1, or beyond `end`).
 */
export function optionLengthAt(buffer: Uint8Array, at: number, end: number): number {
  const kind = readU8(buffer, at);
  if (kind === endOfOptions) return 0;
  if (kind === noOperation) return 1;
  if (at + 1 >= end) return -1;
  const length = readU8(buffer, at + 1);
  return length < 2 || at + length > end ? -1 : length;
}

/** The `option…` bit of the option at `at`; 0 for one that doesn't matter here; -1 if it has our ExID but neither of our lengths. */
export function optionBitAt(buffer: Uint8Array, at: number, length: number): number {
  switch (readU8(buffer, at)) {
    case 5:
      return optionSack;
    case 19:
    case 29:
      return optionSigned;
    case 30:
      return optionMultipath;
    case 34:
      return optionFastOpen;
    case 172:
    case 174:
      return optionAccurateEcn;
    case experimentKind:
      return length >= 4 && readU16(buffer, at + 2) === experimentId ? ownOptionBit(length) : 0;
    case 254:
      return length >= 4 && readU16(buffer, at + 2) === fastOpenExperimentId ? optionFastOpen : 0;
    default:
      return 0;
  }
}

function ownOptionBit(length: number): number {
  if (length === markerOptionLength) return optionMarker;
  return length === tagOptionLength ? optionTag : -1;
}

/** Walks the options at `[start, end)` of `packet.buffer` and fills `options` and `tagOffset`. Our own may not come twice. */
export function parseTcpOptions(packet: Packet, start: number, end: number): Reason | undefined {
  const buffer = packet.buffer;
  for (let at = start; at < end;) {
    const length = optionLengthAt(buffer, at, end);
    if (length === 0) return undefined;
    if (length < 0) return "packet-options";
    if (length > 1) {
      const bit = optionBitAt(buffer, at, length);
      const repeated = packet.options & bit & (optionMarker | optionTag);
      if (bit < 0 || repeated !== 0) return "packet-options";
      packet.options |= bit;
      if (bit === optionTag) packet.tagOffset = at + 4;
    }
    at += length;
  }
  return undefined;
}
