/** Owns the building of RST segments, with the numbers of RFC 9293 §3.5.2 and §3.10.7. */
import { copyShort, writeU16, writeU32 } from "./bytes.ts";
import { addWords, finishSum } from "./checksum.ts";
import { protocolTcp, tcpAck, tcpRst, tcpSyn } from "./packet.ts";
import type { Packet } from "./packet.ts";
import { sequenceAdd } from "./sequence.ts";

const tcpHeaderLength = 20;
/** As the stack's own resets: don't fragment, and the usual hop limit. */
const dontFragment = 0x4000;
const hopLimit = 64;

/**
 * Builds the whole IP packet of an RST that follows from `cause`, in a new buffer that the caller owns.
 *
 * - `sender`: answers the segment, from its destination to its source. With ACK: SEQ = SEG.ACK, flags RST. Without:
 *   SEQ = 0, ACK = SEG.SEQ + 1, flags RST and ACK (a SYN's length is 1: its payload is ours, not TCP's).
 * - `receiver`: takes the segment's place, with its addresses, ports and SEQ: to be accepted in its stead or sent on.
 *   Flags RST and ACK with the segment's ACK; RST alone with SEQ + 1 for a SYN.
 *
 * `undefined` if the cause is itself an RST (never answered) or no TCP.
 */
export function buildReset(cause: Packet, towards: "sender" | "receiver"): Uint8Array | undefined {
  if (cause.protocol !== protocolTcp || (cause.flags & tcpRst) !== 0) return undefined;
  const headerLength = cause.version === 4 ? 20 : 40;
  const reset = new Uint8Array(headerLength + tcpHeaderLength);
  const pseudo = cause.version === 4 ? writeIpv4(cause, towards, reset) : writeIpv6(cause, towards, reset);
  writePorts(cause, towards, reset, headerLength);
  if (towards === "sender") writeAnswer(cause, reset, headerLength);
  else writeReplacement(cause, reset, headerLength);
  reset[headerLength + 12] = (tcpHeaderLength / 4) << 4;
  writeU16(reset, headerLength + 16, finishSum(addWords(reset, headerLength, reset.length, pseudo)));
  return reset;
}

/** Returns the sum of the pseudo-header, like `writeIpv6`. */
function writeIpv4(cause: Packet, towards: "sender" | "receiver", into: Uint8Array): number {
  into[0] = 0x45;
  writeU16(into, 2, into.length);
  writeU16(into, 6, dontFragment);
  into[8] = hopLimit;
  into[9] = protocolTcp;
  copyAddresses(cause, towards, 4, into, 12);
  writeU16(into, 10, finishSum(addWords(into, 0, 20, 0)));
  return addWords(into, 12, 20, protocolTcp + tcpHeaderLength);
}

function writeIpv6(cause: Packet, towards: "sender" | "receiver", into: Uint8Array): number {
  into[0] = 0x60;
  writeU16(into, 4, tcpHeaderLength);
  into[6] = protocolTcp;
  into[7] = hopLimit;
  copyAddresses(cause, towards, 16, into, 8);
  return addWords(into, 8, 40, protocolTcp + tcpHeaderLength);
}

function copyAddresses(
  cause: Packet,
  towards: "sender" | "receiver",
  length: number,
  into: Uint8Array,
  at: number,
): void {
  const source = towards === "sender" ? cause.destinationOffset : cause.sourceOffset;
  const destination = towards === "sender" ? cause.sourceOffset : cause.destinationOffset;
  copyShort(cause.buffer, source, source + length, into, at);
  copyShort(cause.buffer, destination, destination + length, into, at + length);
}

function writePorts(cause: Packet, towards: "sender" | "receiver", into: Uint8Array, at: number): void {
  writeU16(into, at, towards === "sender" ? cause.destinationPort : cause.sourcePort);
  writeU16(into, at + 2, towards === "sender" ? cause.sourcePort : cause.destinationPort);
}

/** RFC 9293 §3.10.7.1. Without ACK the cause is a SYN: the parser lets nothing else through. */
function writeAnswer(cause: Packet, into: Uint8Array, at: number): void {
  if ((cause.flags & tcpAck) !== 0) {
    writeU32(into, at + 4, cause.acknowledgement);
    into[at + 13] = tcpRst;
    return;
  }
  writeU32(into, at + 8, sequenceAdd(cause.sequence, 1));
  into[at + 13] = tcpRst | tcpAck;
}

function writeReplacement(cause: Packet, into: Uint8Array, at: number): void {
  if ((cause.flags & (tcpSyn | tcpAck)) === tcpSyn) {
    writeU32(into, at + 4, sequenceAdd(cause.sequence, 1));
    into[at + 13] = tcpRst;
    return;
  }
  writeU32(into, at + 4, cause.sequence);
  writeU32(into, at + 8, cause.acknowledgement);
  into[at + 13] = tcpRst | tcpAck;
}
