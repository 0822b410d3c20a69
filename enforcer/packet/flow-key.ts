/** Owns flow keys: short strings that name a 4-tuple within one protocol, for use as keys of a `Map`. */
import type { Packet } from "./packet.ts";

/** Key of (source, source port, destination, destination port) as the packet has them. Opaque, not printable. */
export function flowKey(packet: Packet): string {
  throw new Error("not yet");
}

/** Key of the other direction: what `flowKey` gives for an answer to this packet. */
export function reverseFlowKey(packet: Packet): string {
  throw new Error("not yet");
}

/** Key of the packet that an ICMP error quotes, in that packet's own direction; `packet.hasQuote` must be true. */
export function quotedFlowKey(packet: Packet): string {
  throw new Error("not yet");
}
