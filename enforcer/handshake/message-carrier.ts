/** Owns how a handshake message gets into a SYN or SYN-ACK, and out of it again. */
import type { Packet } from "../packet/packet.ts";
import { optionMarker } from "../packet/packet.ts";
import type { Reason } from "../reason.ts";
import type { EngineState } from "./engine-state.ts";

const ethernetPayload = 1460;
const ipAndTcpLength = 40;

/**
 * The largest message that the peer may send, if its MTU isn't above ours or Ethernet's. A window below it would make conntrack doubt
 * the segments that follow, since to it the message is data: kernels before about 6.1 call them invalid, newer ones ignore them and
 * keep the entry in SYN_RECV.
 */
function leastWindow(mtu: number): number {
  return Math.min(0xffff, Math.max(ethernetPayload, mtu - ipAndTcpLength));
}

/** The payload of a packet: a view. */
export function payloadOf(packet: Packet): Uint8Array {
  return packet.buffer.subarray(packet.payloadOffset, packet.end);
}

/**
 * The segment in hand with `payload` for its only data, without the options in `unwanted`, and with the marker, unless it has no room
 * for one: the message has a magic of its own. A small window is raised; the message has the true one. A reason if it would exceed
 * the path's MTU.
 */
export function attachMessage(
  state: EngineState,
  payload: Uint8Array,
  unwanted: number,
): Uint8Array | Reason {
  const marked = rewrite(state, payload, unwanted, true);
  const packet = marked === "options-full" ? rewrite(state, payload, unwanted, false) : marked;
  if (typeof packet !== "string" && packet.length > state.pathMtu()) return "packet-too-big";
  return packet;
}

function rewrite(
  state: EngineState,
  payload: Uint8Array,
  unwanted: number,
  isMarked: boolean,
): Uint8Array | Reason {
  const { rewriter } = state;
  rewriter.begin(state.packet);
  rewriter.removeOptions(unwanted);
  if (isMarked) rewriter.insertMarker();
  rewriter.replacePayload(payload);
  const window = leastWindow(state.unit.mtu);
  if (state.packet.window < window) rewriter.setWindow(window);
  return rewriter.finish();
}

/** The segment in hand without any data, marker and `unwanted` options, and with the window that its sender meant. */
export function stripMessage(state: EngineState, window: number, unwanted: number): Uint8Array | Reason {
  const { rewriter } = state;
  rewriter.begin(state.packet);
  rewriter.removeOptions(unwanted | optionMarker);
  rewriter.dropPayload();
  rewriter.setWindow(window);
  return rewriter.finish();
}
