/**
 * Owns the server's side of a handshake: the client's SYN, our stack's answer, and the segment with tag C. Source: design, "The
 * handshake".
 *
 *   SYN in ── good token, policy ──► candidate ── SYN-ACK out, with tag S ──► answered ── segment with a good tag C ──► authorised
 *                                       └─────────── silent for 75 s ────────────┘──► forgotten
 *
 * A SYN's token proves nothing yet, since it may be a replay: refusals are silent. A bad tag changes nothing. After authorisation a
 * ring entry remains, from which a repeated SYN-ACK is rebuilt and by which the client's repeated tag is known.
 */
import type { OwnToken, PairKeys, VerifiedIdentity } from "../identity/identity.ts";
import { optionTag, payloadLength, tcpAck, tcpRst } from "../packet/packet.ts";
import { sequenceAdd } from "../packet/sequence.ts";
import type { Decision } from "../policy/evaluate.ts";
import type { Reason } from "../reason.ts";
import { unwantedOptions } from "./address-flow.ts";
import type { Answered } from "./answered-ring.ts";
import { Answer, type Candidate } from "./candidate-table.ts";
import { recordDecision, refusal, refuseSynQuietly } from "./decisions.ts";
import type { EngineState } from "./engine-state.ts";
import { copyFlowKey } from "./flow-key.ts";
import { attachMessage, payloadOf, stripMessage } from "./message-carrier.ts";
import type { SynMessage } from "./messages.ts";
import { decodeSyn, encodeSynAck, protocolVersion, suiteBit, synAckLength, tagLength } from "./messages.ts";
import type { Outcome } from "./outcome.ts";
import { acceptUnchanged, drop, holdForAgreement, holdForVerification } from "./outcome.ts";
import { serverTag, tagsEqual } from "./proofs.ts";
import { resetBothInbound, resetSender } from "./resets.ts";
import { hashSyn, hashSynAck } from "./transcript.ts";

const noExtensions = new Uint8Array(0);
const noTag = new Uint8Array(tagLength);

// ── SYN, inbound ──

/** A SYN whose payload begins with our magic. */
export function receiveTokenSyn(state: EngineState): Outcome {
  const message = decodeSyn(payloadOf(state.packet));
  if (typeof message === "string") return refuseQuietly(state, message);
  const own = state.unit.token();
  if (own === undefined) return refuseQuietly(state, "token-unavailable");
  const unfit = checkOffer(own, message);
  return unfit === undefined ? verifyClient(state, own, message) : refuseQuietly(state, unfit);
}

function checkOffer(own: OwnToken, message: SynMessage): Reason | undefined {
  if (message.versionMin > protocolVersion || message.versionMax < protocolVersion)
    return "version-unsupported";
  if ((message.suites & suiteBit(own.suite)) === 0) return "suite-unsupported";
  return message.flags === 0 ? undefined : "flags-unknown";
}

function verifyClient(state: EngineState, own: OwnToken, message: SynMessage): Outcome {
  const { token, certificates } = message;
  const verified = state.environment.identities.lookup(own.suite, token, certificates, state.wallMs);
  if (verified === undefined) return holdForVerification(own.suite, token, certificates, state.remote());
  if (!verified.ok) return refuseQuietly(state, verified.reason);
  const decision = judgeClient(state, verified.identity);
  if (decision.verdict === "allow") return admit(state, message, verified.identity);
  return refuseSynQuietly(state, decision, { proof: "token", peer: verified.identity });
}

function judgeClient(state: EngineState, peer: VerifiedIdentity): Decision {
  const policy = state.environment.policy();
  return policy.evaluate("ingress", state.unit.attributes, peer.attributes, "tcp", state.localPort());
}

function refuseQuietly(state: EngineState, reason: Reason): Outcome {
  return refuseSynQuietly(state, refusal(reason), { proof: "none" });
}

function admit(state: EngineState, message: SynMessage, peer: VerifiedIdentity): Outcome {
  const packet = stripMessage(state, message.window, unwantedOptions);
  if (typeof packet === "string") return drop(packet);
  const th1 = hashSyn(payloadOf(state.packet));
  const known = state.candidates.find(state.key, state.packet.sequence, th1);
  const candidate = known ?? newCandidate(state, th1, peer);
  if (known === undefined && !state.candidates.add(candidate)) return drop("table-full");
  if (known !== undefined) renew(state, known);
  return { verdict: "accept", mark: "judged", packet, handshake: candidate };
}

function newCandidate(state: EngineState, th1: Uint8Array, peer: VerifiedIdentity): Candidate {
  return {
    key: copyFlowKey(state.key),
    lastMs: state.nowMs,
    nextInBucket: undefined,
    older: undefined,
    newer: undefined,
    clientIsn: state.packet.sequence,
    th1,
    peer,
    order: ++state.synCount,
    answer: undefined,
    spentMs: 0,
  };
}

function renew(state: EngineState, candidate: Candidate): void {
  candidate.order = ++state.synCount;
  state.candidates.touch(candidate, state.nowMs);
}

// ── SYN-ACK, outbound ──

/** Our stack's SYN-ACK for a candidate, or its repetition after authorisation; undefined if it answers neither. */
export function sendSynAck(state: EngineState): Outcome | undefined {
  const clientIsn = sequenceAdd(state.packet.acknowledgement, -1);
  const candidate = state.candidates.answeredBy(state.key, clientIsn);
  if (candidate !== undefined) return answerCandidate(state, candidate);
  const answered = state.answered.find(state.key);
  const isRepeated = answered?.clientIsn === clientIsn && answered.serverIsn === state.packet.sequence;
  if (isRepeated) return repeatAnswered(state, answered);
  state.answered.remove(state.key);
  state.recent.forgetOther(state.key, state.packet.sequence);
  return undefined;
}

function answerCandidate(state: EngineState, candidate: Candidate): Outcome {
  const answer = candidate.answer ?? prepareAnswer(state, candidate);
  if ("verdict" in answer) return answer;
  const packet = attachMessage(state, synAckPayload(state, answer), unwantedOptions);
  if (typeof packet === "string") return refuseTooBig(state, candidate, packet);
  answer.serverIsn = state.packet.sequence;
  candidate.answer = answer;
  state.candidates.touch(candidate, state.nowMs);
  forgetFormer(state);
  return { verdict: "accept", mark: "none", packet, handshake: candidate };
}

/** The candidate's answer, or why there is none (yet). */
function prepareAnswer(state: EngineState, candidate: Candidate): Answer | Outcome {
  const own = state.unit.token();
  if (own === undefined) return drop("token-unavailable");
  if (synAckLength(own.bytes, own.certificates) > state.unit.mtu) return refuseTooBig(state, candidate);
  const keys = state.environment.identities.pairKeys(own, candidate.peer, "server");
  if (keys === undefined) return holdForAgreement(own, candidate.peer, "server", state.remote());
  return makeAnswer(state, candidate, own, keys);
}

/** Our stack answers a new SYN: whatever had this 4-tuple before is over, and its proofs with it. */
function forgetFormer(state: EngineState): void {
  state.recent.forget(state.key);
  state.answered.remove(state.key);
}

function refuseTooBig(state: EngineState, candidate: Candidate, reason: Reason = "packet-too-big"): Outcome {
  if (!state.refused.noteSyn(state.key, candidate.clientIsn, reason, state.nowMs)) return drop(reason);
  const context = { role: "server", proof: "token", peer: candidate.peer } as const;
  return { verdict: "drop", reason, record: recordDecision(state, refusal(reason), context) };
}

function makeAnswer(state: EngineState, candidate: Candidate, own: OwnToken, keys: PairKeys): Answer {
  const nonce = new Uint8Array(16);
  state.environment.fillRandom(nonce);
  const { window, sequence } = state.packet;
  const payload = synAckPayload(state, { own, nonce, window, tagS: noTag });
  const th2 = hashSynAck(candidate.th1, payload);
  const tagS = serverTag(keys.kS, th2);
  return new Answer({ own, nonce, window, tagS, serverIsn: sequence }, keys.kC, th2);
}

function synAckPayload(
  state: EngineState,
  answer: Pick<Answer, "own" | "nonce" | "window" | "tagS">,
): Uint8Array {
  const { own, nonce, window, tagS } = answer;
  const into = state.environment.scratch.message;
  const length = encodeSynAck(
    {
      version: protocolVersion,
      suite: own.suite,
      flags: 0,
      window,
      nonce,
      serverAddress: state.local(),
      serverPort: state.localPort(),
      clientAddress: state.remote(),
      clientPort: state.remotePort(),
      token: own.bytes,
      certificates: own.certificates,
      extensions: noExtensions,
      tag: tagS,
    },
    into,
  );
  return into.subarray(0, length);
}

function repeatAnswered(state: EngineState, answered: Answered): Outcome {
  const own = state.tokens.find(answered.tokenId);
  if (own === undefined) return drop("token-unavailable");
  const packet = attachMessage(state, synAckPayload(state, { ...answered, own }), unwantedOptions);
  if (typeof packet === "string") return drop(packet);
  state.answered.touch(state.key, state.nowMs);
  return { verdict: "accept", mark: "none", packet };
}

// ── Other segments ──

/** The client's segments; undefined if this flow is no handshake of ours. */
export function receiveFromClient(state: EngineState): Outcome | undefined {
  const answered = recentlyAnswered(state);
  if (answered === undefined && !state.candidates.has(state.key)) return undefined;
  if ((state.packet.flags & tcpRst) !== 0)
    return payloadLength(state.packet) === 0 ? acceptUnchanged : drop("reset-invalid");
  if (state.packet.tagOffset < 0) return drop("tag-missing");
  return receiveTagged(state, answered);
}

/** A ring entry counts as long as its SYN-ACK may be repeated. */
function recentlyAnswered(state: EngineState): Answered | undefined {
  const answered = state.answered.find(state.key);
  if (answered === undefined) return undefined;
  return state.nowMs - answered.lastMs > state.environment.limits.silentMs ? undefined : answered;
}

function receiveTagged(state: EngineState, answered: Answered | undefined): Outcome {
  const { tagOffset, buffer } = state.packet;
  const tag = buffer.subarray(tagOffset, tagOffset + tagLength);
  for (const candidate of state.candidates.ofFlow(state.key))
    if (candidate.answer !== undefined && tagsEqual(candidate.answer.tagC, tag))
      return authorise(state, candidate, candidate.answer);
  if (answered === undefined || !tagsEqual(answered.tagC, tag)) return drop("tag-invalid");
  return acceptTagged(state, answered.serverIsn);
}

/** The client has proved itself. Trust and policy are asked again: they may have changed since the SYN. */
function authorise(state: EngineState, candidate: Candidate, answer: Answer): Outcome {
  const doubt = state.environment.identities.doubt(candidate.peer, state.wallMs);
  const decision = doubt === undefined ? judgeClient(state, candidate.peer) : refusal(doubt);
  const context = { role: "server", proof: "token", peer: candidate.peer } as const;
  const record = recordDecision(state, decision, context);
  if (decision.verdict === "deny") {
    state.candidates.removeFlow(state.key);
    return resetBothInbound(state, "none", record);
  }
  const outcome = acceptTagged(state, answer.serverIsn);
  if (outcome.verdict !== "accept") return outcome;
  keepAnswered(state, candidate, answer);
  state.candidates.removeFlow(state.key);
  return { ...outcome, record, handshake: candidate };
}

function acceptTagged(state: EngineState, serverIsn: number): Outcome {
  const { rewriter } = state;
  rewriter.begin(state.packet);
  rewriter.removeOptions(optionTag);
  const packet = rewriter.finish();
  if (typeof packet === "string") return drop(packet);
  state.recent.remember(state.key, state.nowMs, serverIsn);
  return { verdict: "accept", mark: "authorised", packet };
}

function keepAnswered(state: EngineState, candidate: Candidate, answer: Answer): void {
  const { serverIsn, window, nonce, tagS, tagC } = answer;
  state.answered.add(state.key, {
    clientIsn: candidate.clientIsn,
    serverIsn,
    lastMs: state.nowMs,
    tokenId: state.tokens.idOf(answer.own),
    window,
    nonce,
    tagS,
    tagC,
  });
}

/** Our own segments other than SYN-ACK; undefined if this flow is no handshake of ours. */
export function sendToClient(state: EngineState): Outcome | undefined {
  if (!state.candidates.has(state.key)) return undefined;
  if ((state.packet.flags & tcpRst) !== 0) return sendReset(state);
  for (const candidate of state.candidates.ofFlow(state.key))
    if (candidate.answer !== undefined) return drop("tag-missing");
  return resetSender(state);
}

/** A closed port, or a listener that went away: the handshake is over. */
function sendReset(state: EngineState): Outcome {
  const { acknowledgement, flags, sequence } = state.packet;
  for (const candidate of state.candidates.ofFlow(state.key)) {
    const isForSyn = (flags & tcpAck) !== 0 && acknowledgement === sequenceAdd(candidate.clientIsn, 1);
    const isForAnswer =
      candidate.answer !== undefined && sequence === sequenceAdd(candidate.answer.serverIsn, 1);
    if (isForSyn || isForAnswer) state.candidates.remove(candidate);
  }
  return acceptUnchanged;
}
