/** Owns the buffers that every call of an engine works in. One set per worker: calls never overlap. */
import { Packet } from "../packet/packet.ts";
import { TcpRewriter } from "../packet/tcp-rewriter.ts";
import type { FlowKey } from "./flow-key.ts";
import { emptyFlowKey } from "./flow-key.ts";

const maximumPacket = 65_535;

export class Scratch {
  readonly packet = new Packet();
  readonly rewriter = new TcpRewriter();
  /** Of the packet in hand, and of the one that an ICMP error quotes. */
  readonly key: FlowKey = emptyFlowKey();
  /** The message that goes into the packet. */
  readonly message = new Uint8Array(maximumPacket);
  readonly local = new Uint8Array(16);
  readonly remote = new Uint8Array(16);
}
