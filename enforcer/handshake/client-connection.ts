/**
 * Owns the client's side of a handshake: our own SYN, the server's answer, and the segments that carry tag C. Source: design, "The
 * handshake".
 *
 *   SYN out ──► pending ── SYN-ACK with a good tag S, address and policy ──► tagging ── first other segment of the server ──► authorised
 *                  │                                                            └── silent for 75 s ──► authorised by ctnetlink
 *                  └── refused (reset to both ends), or silent for 75 s ──► forgotten
 *
 * A bad token, a bad tag or a malformed answer is dropped and changes nothing.
 */
import type { OwnToken, PairKeys, VerifiedIdentity } from "../identity/identity.ts";
import { addressesEqual } from "../packet/addresses.ts";
import { optionSigned, payloadLength, tcpAck, tcpFin, tcpRst } from "../packet/packet.ts";
import { sequenceAdd, sequenceDifference } from "../packet/sequence.ts";
import type { Reason } from "../reason.ts";
import { sendAddressSyn, unwantedOptions } from "./address-flow.ts";
import { recordDecision, refusal } from "./decisions.ts";
import type { EngineState } from "./engine-state.ts";
import { copyFlowKey } from "./flow-key.ts";
import type { FlowEntry } from "./flow-table.ts";
import { attachMessage, payloadOf, stripMessage } from "./message-carrier.ts";
import type { SynAckMessage } from "./messages.ts";
import { decodeSynAck, encodeSyn, hasMagic, protocolVersion, suiteBit, synLength } from "./messages.ts";
import type { Outcome, Stopwatch } from "./outcome.ts";
import { acceptAuthorised, acceptUnchanged, drop, holdForAgreement, holdForVerification } from "./outcome.ts";
import { leastMtus } from "./path-mtus.ts";
import { ExpectedTag, serverTag, tagsEqual } from "./proofs.ts";
import { refuseOwnSyn, resetBothInbound, resetBothOutbound, resetSender } from "./resets.ts";
import { hashSyn, hashSynAck } from "./transcript.ts";

const noExtensions = new Uint8Array(0);
/** TH1 of a connection whose SYN has not been made yet. */
const notHashed = new Uint8Array(0);
const tagOptionLength = 20;

export interface ClientConnection extends FlowEntry, Stopwatch {
  nextInBucket: this | undefined;
  older: this | undefined;
  newer: this | undefined;
  readonly isn: number;
  /** What the SYN's payload is rebuilt from. */
  readonly own: OwnToken;
  readonly nonce: Uint8Array;
  readonly window: number;
  th1: Uint8Array;
  /** Set once the server has proved itself and both address check and policy agree. */
  proof: ServerProof | undefined;
}

interface ServerProof {
  readonly expected: ExpectedTag;
  readonly serverIsn: number;
  /** False once our kernel has sent its SYN again, since then it has not taken that SYN-ACK. */
  isTaken: boolean;
  /** The next segment must carry the tag, whatever of its data has to wait. */
  isTagDue: boolean;
  /** Of signed segments that were sent again, the last one had the tag. */
  isRepeatTagged: boolean;
  /** The sequence number after the highest byte that our kernel has sent. */
  sentUntil: number;
}

// ── SYN, outbound ──

/** Our own SYN: to a peer with identity, with our token; to any other by address rules. */
export function sendSyn(state: EngineState): Outcome {
  forgetFormer(state);
  const known = state.clients.find(state.key);
  if (known?.isn === state.packet.sequence) return repeatSyn(state, known);
  if (known !== undefined) state.clients.remove(known);
  const { networks } = state.environment;
  const dialled = networks.stripNat64(state.remote());
  const kind = networks.classify(dialled, state.remotePort(), state.packet.protocol);
  return kind === "pod" || kind === "service" ? openConnection(state) : sendAddressSyn(state);
}

/** Only the local stack sends a SYN: whatever else had this 4-tuple is over. */
function forgetFormer(state: EngineState): void {
  state.recent.forget(state.key);
  state.answered.remove(state.key);
  state.candidates.removeFlow(state.key);
}

function repeatSyn(state: EngineState, connection: ClientConnection): Outcome {
  state.clients.touch(connection, state.nowMs);
  if (connection.proof !== undefined) connection.proof.isTaken = false;
  const outcome = attachSyn(state, connection);
  if (outcome.verdict === "drop") state.clients.remove(connection);
  return outcome;
}

function openConnection(state: EngineState): Outcome {
  if (!state.environment.policy().mayInitiate(state.unit.attributes)) return refuseSyn(state, "no-egress");
  const own = state.unit.token();
  if (own === undefined) return drop("token-unavailable");
  const connection = newConnection(state, own);
  const outcome = attachSyn(state, connection);
  if (outcome.verdict === "accept") keep(state, connection);
  return outcome;
}

function newConnection(state: EngineState, own: OwnToken): ClientConnection {
  const nonce = new Uint8Array(16);
  state.environment.fillRandom(nonce);
  return {
    key: copyFlowKey(state.key),
    lastMs: state.nowMs,
    nextInBucket: undefined,
    older: undefined,
    newer: undefined,
    isn: state.packet.sequence,
    own,
    nonce,
    window: state.packet.window,
    th1: notHashed,
    proof: undefined,
    spentMs: 0,
  };
}

function keep(state: EngineState, connection: ClientConnection): void {
  const oldest = state.clients.full ? state.clients.oldest() : undefined;
  if (oldest !== undefined) state.clients.remove(oldest);
  if (oldest !== undefined) state.evicted += 1;
  state.clients.add(connection);
}

function refuseSyn(state: EngineState, reason: Reason): Outcome {
  return refuseOwnSyn(
    state,
    reason,
    recordDecision(state, refusal(reason), { role: "client", proof: "none" }),
  );
}

function attachSyn(state: EngineState, connection: ClientConnection): Outcome {
  const { own } = connection;
  if (synLength(own.bytes, own.certificates) > state.unit.mtu) return refuseSyn(state, "packet-too-big");
  const payload = synPayload(state, connection);
  const packet = attachMessage(state, payload, unwantedOptions);
  if (typeof packet === "string") return refuseSyn(state, packet);
  if (connection.th1 === notHashed) connection.th1 = hashSyn(payload);
  return { verdict: "accept", mark: "none", packet, handshake: connection };
}

function synPayload(state: EngineState, connection: ClientConnection): Uint8Array {
  const { own, nonce, window } = connection;
  const into = state.environment.scratch.message;
  const length = encodeSyn(
    {
      versionMin: protocolVersion,
      versionMax: protocolVersion,
      suites: suiteBit(own.suite),
      flags: 0,
      window,
      nonce,
      token: own.bytes,
      certificates: own.certificates,
      extensions: noExtensions,
    },
    into,
  );
  return into.subarray(0, length);
}

// ── SYN-ACK, inbound ──

/** An answer to one of our own SYNs; undefined if it answers none that carried a token. */
export function receiveSynAck(state: EngineState): Outcome | undefined {
  const connection = state.clients.find(state.key);
  if (connection === undefined) return undefined;
  if (state.packet.acknowledgement !== sequenceAdd(connection.isn, 1)) return undefined;
  if (connection.proof?.isTaken === true && connection.proof.serverIsn !== state.packet.sequence)
    return undefined;
  const payload = payloadOf(state.packet);
  if (!hasMagic(payload)) return refuseAnswer(state, connection, "token-missing");
  const message = decodeSynAck(payload);
  if (typeof message === "string") return drop(message);
  const unfit = checkChoice(connection, message);
  return unfit === undefined ? verifyAnswer(state, connection, message) : drop(unfit);
}

/** What the server chose must be what was offered: a downgrade is an attack. */
function checkChoice(connection: ClientConnection, message: SynAckMessage): Reason | undefined {
  if (message.version !== protocolVersion) return "version-unsupported";
  if (message.suite !== connection.own.suite) return "suite-unsupported";
  return message.flags === 0 ? undefined : "flags-unknown";
}

function verifyAnswer(state: EngineState, connection: ClientConnection, message: SynAckMessage): Outcome {
  const { identities } = state.environment;
  const { own } = connection;
  const { token, certificates } = message;
  const verified = identities.lookup(own.suite, token, certificates, state.wallMs);
  if (verified === undefined) return holdForVerification(own.suite, token, certificates, state.remote());
  if (!verified.ok) return drop(verified.reason);
  const keys = identities.pairKeys(own, verified.identity, "client");
  if (keys === undefined) return holdForAgreement(own, verified.identity, "client", state.remote());
  const th2 = hashSynAck(connection.th1, payloadOf(state.packet));
  if (!tagsEqual(serverTag(keys.kS, th2), message.tag)) return drop("tag-invalid");
  return decideOnServer(state, connection, { message, peer: verified.identity, keys, th2 });
}

interface ProvenAnswer {
  readonly message: SynAckMessage;
  readonly peer: VerifiedIdentity;
  readonly keys: PairKeys;
  readonly th2: Uint8Array;
}

/** The server has proved itself: only now may anything be refused. */
function decideOnServer(state: EngineState, connection: ClientConnection, answer: ProvenAnswer): Outcome {
  const { message, peer } = answer;
  if (!isOurOwnConnection(state, message)) return refuseAnswer(state, connection, "address-relayed", peer);
  const policy = state.environment.policy();
  const decision = policy.evaluate(
    "egress",
    state.unit.attributes,
    peer.attributes,
    "tcp",
    message.serverPort,
  );
  const record = recordDecision(state, decision, { role: "client", proof: "token", peer });
  if (decision.verdict === "allow") return acceptAnswer(state, connection, answer, record);
  state.clients.remove(connection);
  return resetBothInbound(state, "judged", record);
}

/** Without this, a host that we dial could relay our handshake to another server and own what that server authorised as ours. */
function isOurOwnConnection(state: EngineState, message: SynAckMessage): boolean {
  const isSeenAsSent =
    message.clientPort === state.localPort() && addressesEqual(message.clientAddress, state.local());
  return isSeenAsSent || isTranslated(state, message);
}

function isTranslated(state: EngineState, message: SynAckMessage): boolean {
  const { networks } = state.environment;
  if (!networks.isTranslator(message.clientAddress)) return false;
  const dialled = networks.stripNat64(state.remote());
  const isDialled =
    message.serverPort === state.remotePort() && addressesEqual(message.serverAddress, dialled);
  return isDialled || networks.isServiceAddress(dialled);
}

function acceptAnswer(
  state: EngineState,
  connection: ClientConnection,
  answer: ProvenAnswer,
  record: ReturnType<typeof recordDecision>,
): Outcome {
  const packet = stripMessage(state, answer.message.window, unwantedOptions);
  if (typeof packet === "string") return drop(packet);
  const isFirst = connection.proof === undefined;
  connection.proof = {
    expected: new ExpectedTag(answer.keys.kC, answer.th2, answer.message.tag.slice()),
    serverIsn: state.packet.sequence,
    isTaken: true,
    isTagDue: true,
    isRepeatTagged: false,
    sentUntil: connection.proof?.sentUntil ?? sequenceAdd(connection.isn, 1),
  };
  state.clients.touch(connection, state.nowMs);
  return { verdict: "accept", mark: "judged", packet, handshake: connection, ...(isFirst ? { record } : {}) };
}

function refuseAnswer(
  state: EngineState,
  connection: ClientConnection,
  reason: Reason,
  peer?: VerifiedIdentity,
): Outcome {
  state.clients.remove(connection);
  const context = peer === undefined ? { proof: "none" as const } : { proof: "token" as const, peer };
  const record = recordDecision(state, refusal(reason), { role: "client", ...context });
  return resetBothInbound(state, "judged", record);
}

// ── Other segments ──

/** The server's segments; undefined if this flow is no handshake of ours. */
export function receiveFromServer(state: EngineState): Outcome | undefined {
  const connection = state.clients.find(state.key);
  if (connection === undefined) return undefined;
  if ((state.packet.flags & tcpRst) !== 0) return receiveReset(state, connection);
  if (connection.proof === undefined) return receiveEarly(state);
  state.clients.remove(connection);
  state.recent.remember(state.key, state.nowMs);
  return acceptAuthorised;
}

/** The stack's own check (RFC 5961) decides what a reset does; our state stays. */
function receiveReset(state: EngineState, connection: ClientConnection): Outcome {
  const { packet } = state;
  if (payloadLength(packet) > 0) return drop("reset-invalid");
  const isAnswer = (packet.flags & tcpAck) !== 0 && packet.acknowledgement === sequenceAdd(connection.isn, 1);
  return isAnswer || connection.proof !== undefined ? acceptUnchanged : drop("reset-invalid");
}

/**
 * Before any SYN-ACK: a bare ACK, with which a stack answers a SYN on what it takes for an old connection. Ours answers it with the
 * reset that clears the way (RFC 9293 §3.5.3); nothing else gets to a socket that waits for a SYN-ACK.
 */
function receiveEarly(state: EngineState): Outcome {
  const isBareAck = payloadLength(state.packet) === 0 && (state.packet.flags & (tcpAck | tcpFin)) === tcpAck;
  return isBareAck ? acceptUnchanged : resetSender(state);
}

/** Our own segments; undefined if this flow is no handshake of ours. */
export function sendToServer(state: EngineState): Outcome | undefined {
  const connection = state.clients.find(state.key);
  if (connection === undefined) return undefined;
  if ((state.packet.flags & tcpRst) !== 0) return acceptUnchanged;
  if (connection.proof === undefined) return resetSender(state);
  return sendTagged(state, connection, connection.proof);
}

/**
 * Whether the segment in hand gets the tag: what is due and what is sent again must, and whatever has room may; a full one goes as it is
 * the first time.
 *
 * The server's stack gets the tag with all but the first segment, once the kernel passes them by their mark. It doesn't mind, unless the
 * segment is signed: so these have it when it is due, and of the repetitions every other one has it.
 */
function tagNeed(state: EngineState, proof: ServerProof, isRepeated: boolean): "must" | "may" | "none" {
  const { packet } = state;
  if (proof.isTagDue) return "must";
  if ((packet.options & optionSigned) !== 0) return isRepeated && takeTurn(proof) ? "must" : "none";
  if (isRepeated) return "must";
  const length = packet.end - packet.networkOffset + tagOptionLength;
  return length <= state.pathMtu() ? "may" : "none";
}

function takeTurn(proof: ServerProof): boolean {
  proof.isRepeatTagged = !proof.isRepeatTagged;
  return proof.isRepeatTagged;
}

function sendTagged(state: EngineState, connection: ClientConnection, proof: ServerProof): Outcome {
  const { packet } = state;
  const isRepeated = sequenceDifference(packet.sequence, proof.sentUntil) < 0;
  const need = tagNeed(state, proof, isRepeated);
  const end = sequenceAdd(packet.sequence, payloadLength(packet) + ((packet.flags & tcpFin) !== 0 ? 1 : 0));
  if (sequenceDifference(end, proof.sentUntil) > 0) proof.sentUntil = end;
  if (need === "none") return acceptUnchanged;
  const tagged = insertTag(state, proof.expected.tagC, isRepeated);
  if (typeof tagged !== "string") proof.isTagDue = false;
  else return need === "must" ? giveUp(state, connection, tagged) : acceptUnchanged;
  return { verdict: "accept", mark: "none", packet: tagged };
}

/** The tag never finds room in this stack's segments: better an error at once than silence. */
function giveUp(state: EngineState, connection: ClientConnection, reason: Reason): Outcome {
  state.clients.remove(connection);
  const record = recordDecision(state, refusal(reason), { role: "client", proof: "none" });
  return resetBothOutbound(state, reason, record);
}

/** What is sent again may have been too long with the tag, for a path that the stack knows better: this time it is no longer than the stack made it. */
function insertTag(state: EngineState, tagC: Uint8Array, isRepeated: boolean): Uint8Array | Reason {
  const { rewriter, packet } = state;
  const madeLength = Math.max(packet.end - packet.networkOffset, leastMtus[packet.version]);
  rewriter.begin(packet);
  rewriter.insertTag(tagC);
  rewriter.limitPacket(isRepeated ? Math.min(madeLength, state.pathMtu()) : state.pathMtu());
  return rewriter.finish();
}
