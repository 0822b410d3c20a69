/**
 * Owns the verdict on every packet of one PU that its rule set queues: the connection state machine of both roles. Pure: no
 * clock, no I/O, and no exception for anything a packet can hold. Source: design, "The handshake"; README.md of this folder.
 */
import { verifyChecksums } from "../packet/checksum.ts";
import { payloadLength, protocolTcp, tcpAck, tcpFin, tcpRst, tcpSyn } from "../packet/packet.ts";
import { parsePacket } from "../packet/parse.ts";
import type { Reason } from "../reason.ts";
import { passAddressSynAck, receivePlainSyn } from "./address-flow.ts";
import { receiveFromServer, receiveSynAck, sendSyn, sendToServer } from "./client-connection.ts";
import { EngineState } from "./engine-state.ts";
import type { EngineEnvironment, ProcessingUnit } from "./environment.ts";
import { expireAll } from "./expiry.ts";
import { payloadOf } from "./message-carrier.ts";
import { hasMagic } from "./messages.ts";
import { judgeDatagram } from "./other-protocols.ts";
import type { Expiry, Outcome, Queue } from "./outcome.ts";
import { acceptAuthorised, acceptUnchanged, drop } from "./outcome.ts";
import { resetStray } from "./resets.ts";
import { receiveFromClient, receiveTokenSyn, sendSynAck, sendToClient } from "./server-connection.ts";

/** Sizes of an engine's tables. */
export interface EngineCounts {
  readonly pending: number;
  readonly halfOpen: number;
  readonly addressFlows: number;
  readonly recent: number;
  /** Handshakes that made room for newer ones, since the start. */
  readonly evicted: number;
}

const controlFlags = tcpSyn | tcpAck | tcpRst | tcpFin;

export class Engine {
  private readonly state: EngineState;
  private evictedBefore = 0;

  constructor(unit: ProcessingUnit, environment: EngineEnvironment) {
    this.state = new EngineState(unit, environment);
  }

  /**
   * One queued packet, one verdict. `packet` is the whole IP packet, borrowed for the call and never written to; `nowMs` is monotonic
   * and never goes back, `wallMs` is the wall clock (for tokens' validity only).
   */
  step(queue: Queue, packet: Uint8Array, nowMs: number, wallMs: number): Outcome {
    const { state } = this;
    const malformed = parsePacket(packet, 0, packet.length, state.packet);
    if (malformed !== undefined) return drop(malformed);
    state.isInbound = queue <= 2 || queue === 5;
    state.nowMs = nowMs;
    state.wallMs = wallMs;
    if (queue >= 5) return judgeDatagram(state);
    if (state.packet.protocol !== protocolTcp) return drop("protocol-unsupported");
    state.loadKey();
    return stepTcp(state, queue);
  }

  /** Ends what has been silent too long. To be called about four times a second. */
  expire(nowMs: number): Expiry[] {
    return expireAll(this.state, nowMs);
  }

  /** Handshakes that made room for newer ones since the last call. */
  takeEvicted(): number {
    const { evicted } = this.counts();
    const grown = evicted - this.evictedBefore;
    this.evictedBefore = evicted;
    return grown;
  }

  /** Gives back what engines share; this one must not be used any more. */
  close(): void {
    this.state.answered.close();
  }

  counts(): EngineCounts {
    const { clients, candidates, addressFlows, recent, evicted } = this.state;
    return {
      pending: clients.size,
      halfOpen: candidates.size,
      addressFlows: addressFlows.size,
      recent: recent.size,
      evicted: evicted + candidates.evicted,
    };
  }
}

function stepTcp(state: EngineState, queue: Queue): Outcome {
  const kind = state.packet.flags & controlFlags;
  if (queue === 0) return kind === tcpSyn ? checked(state, receiveSyn) : drop("packet-flags");
  if (queue === 1) return kind === (tcpSyn | tcpAck) ? checked(state, receiveAnswer) : drop("packet-flags");
  if (queue === 3) return sendWithSyn(state, kind);
  if ((kind & tcpSyn) !== 0) return drop("packet-flags");
  return queue === 2 ? receiveSegment(state) : sendSegment(state);
}

/** Conntrack has not seen these yet, and a rewritten packet has a right checksum again, so the one it came with is checked first. */
function checked(state: EngineState, next: (state: EngineState) => Outcome): Outcome {
  const wrong: Reason | undefined = verifyChecksums(state.packet);
  return wrong === undefined ? next(state) : drop(wrong);
}

function receiveSyn(state: EngineState): Outcome {
  const isDialling =
    state.clients.find(state.key) !== undefined || state.addressFlows.find(state.key)?.role === "client";
  if (isDialling) return drop("simultaneous-open");
  const isOurs = payloadLength(state.packet) > 0 && hasMagic(payloadOf(state.packet));
  return isOurs ? receiveTokenSyn(state) : receivePlainSyn(state);
}

function receiveAnswer(state: EngineState): Outcome {
  return receiveSynAck(state) ?? passAddressSynAck(state) ?? drop("ack-unexpected");
}

function sendWithSyn(state: EngineState, kind: number): Outcome {
  if (kind === tcpSyn) return sendSyn(state);
  if (kind !== (tcpSyn | tcpAck)) return drop("packet-flags");
  return sendSynAck(state) ?? passAddressSynAck(state) ?? drop("no-connection");
}

function receiveSegment(state: EngineState): Outcome {
  if (state.recent.recognise(state.key, state.nowMs)) return passRecognised(state);
  return receiveFromServer(state) ?? receiveFromClient(state) ?? belongsToNothing(state);
}

function sendSegment(state: EngineState): Outcome {
  if (state.recent.recognise(state.key, state.nowMs)) return acceptAuthorised;
  return sendToServer(state) ?? sendToClient(state) ?? belongsToNothing(state);
}

/** Resets pass without data, and set no mark. */
function passRecognised(state: EngineState): Outcome {
  if ((state.packet.flags & tcpRst) === 0) return acceptAuthorised;
  return payloadLength(state.packet) === 0 ? acceptUnchanged : drop("reset-invalid");
}

function belongsToNothing(state: EngineState): Outcome {
  const { flags } = state.packet;
  if ((flags & tcpRst) === 0) return resetStray(state);
  const isOfAddressFlow = !state.isInbound && state.addressFlows.find(state.key) !== undefined;
  return isOfAddressFlow ? acceptUnchanged : drop("reset-invalid");
}
