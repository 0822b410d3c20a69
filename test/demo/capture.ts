/** What was on the wire: a capture on the router, and the tokens inside its SYN and SYN-ACK segments. */
import { readFileSync } from "node:fs";
import { decodeSyn, decodeSynAck } from "../../enforcer/handshake/messages.ts";
import { tcpAck, tcpSyn, Packet } from "../../enforcer/packet/packet.ts";
import { parsePacket } from "../../enforcer/packet/parse.ts";
import { triremeBinary } from "../harness/binaries.ts";
import { runOk, type BackgroundProcess } from "../harness/command.ts";
import type { Lab } from "../harness/lab.ts";
import { readPackets } from "./pcap.ts";

/** A handshake segment that was seen on the wire. */
export interface SeenSegment {
  readonly segment: "SYN" | "SYN-ACK";
  /** Whole IP packet, bytes. */
  readonly packetBytes: number;
  readonly tokenBytes: number;
  readonly certificateBytes: number;
  /** The token as `trireme keys inspect` shows it. */
  readonly token: Record<string, unknown>;
}

/** Starts capturing TCP on the router's interface towards the first node. */
export async function startCapture(lab: Lab, router: string, file: string): Promise<BackgroundProcess> {
  const argv = ["tcpdump", "-i", "n1", "-U", "-w", file, "--immediate-mode", "-Z", "root", "tcp"];
  const tcpdump = lab.start(router, argv);
  await tcpdump.waitForOutput(/listening on/m);
  return tcpdump;
}

/** The first SYN to `port` in the capture, and its answer. */
export async function seenSegments(file: string, port: number): Promise<SeenSegment[]> {
  const packets = readPackets(readFileSync(file));
  const syn = packets.find((bytes) => isSegment(bytes, tcpSyn, undefined, port));
  const synAck = packets.find((bytes) => isSegment(bytes, tcpSyn | tcpAck, port, undefined));
  const found = [syn, synAck].filter((bytes) => bytes !== undefined);
  return Promise.all(found.map(describe));
}

function isSegment(
  bytes: Buffer,
  flags: number,
  sourcePort: number | undefined,
  port: number | undefined,
): boolean {
  const packet = new Packet();
  if (parsePacket(bytes, 0, bytes.length, packet) !== undefined) return false;
  const isRightPort =
    sourcePort === undefined ? packet.destinationPort === port : packet.sourcePort === sourcePort;
  return isRightPort && (packet.flags & (tcpSyn | tcpAck)) === flags && packet.end > packet.payloadOffset;
}

async function describe(bytes: Buffer): Promise<SeenSegment> {
  const packet = new Packet();
  parsePacket(bytes, 0, bytes.length, packet);
  const payload = bytes.subarray(packet.payloadOffset, packet.end);
  const isAnswer = (packet.flags & tcpAck) !== 0;
  const message = isAnswer ? decodeSynAck(payload) : decodeSyn(payload);
  if (typeof message === "string")
    throw new Error(`a ${isAnswer ? "SYN-ACK" : "SYN"} on the wire: ${message}`);
  const token = Buffer.from(message.token).toString("base64url");
  const shown = await runOk([triremeBinary(), "keys", "inspect", "--json", "-"], { input: token });
  return {
    segment: isAnswer ? "SYN-ACK" : "SYN",
    packetBytes: packet.end,
    tokenBytes: message.token.length,
    certificateBytes: message.certificates.reduce((sum, certificate) => sum + certificate.length, 0),
    token: JSON.parse(shown) as Record<string, unknown>,
  };
}
