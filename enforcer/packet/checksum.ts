/** Owns the Internet checksum: verification and full computation. Sources: RFC 1071, 791, 8200 §8.1, 9293, 768, 4443. */
import type { Reason } from "../reason.ts";
import type { Packet } from "./packet.ts";

/** Verifies the IPv4 header's checksum and that of TCP, UDP, ICMP or ICMPv6 (other protocols: none). */
export function verifyChecksums(packet: Packet): Reason | undefined {
  throw new Error("not yet");
}
