/**
 * The way of a packet through the worker: queue, engine, verdict.
 *
 *   poller ─► sockets that are ready, SYN last ─► receive a batch ─► engine.step ─┬─► verdict, one send a batch
 *                                                                                 ├─► reset from a raw socket
 *                                                                                 └─► hold: copy, work under the budget, step again
 *
 * Source: design, "Threads" and "Bounded before proof".
 */
import { netnsCookie } from "../../netlink/netns.ts";
import { Poller } from "../../netlink/poller.ts";
import {
  createQueuePacket,
  decodeQueuePacket,
  VerdictWriter,
  type QueuePacket,
} from "../../netlink/queue.ts";
import { ReceiveBatch } from "../../netlink/receive-batch.ts";
import type { LimitsConfig } from "../config/config.ts";
import type { EngineEnvironment } from "../handshake/environment.ts";
import { drop, type Emission, type Outcome, type Queue, type Work } from "../handshake/outcome.ts";
import type { IdentityCache } from "../identity/verifier.ts";
import type { OwnToken } from "../identity/identity.ts";
import type { Attributes } from "../policy/attributes.ts";
import type { Reason } from "../reason.ts";
import { HeldPackets, type HeldPacket } from "./held-packets.ts";
import { isSavedWhereQueued, verdictMark, type VerdictMarks } from "./mark.ts";
import type { PuDescription } from "./messages.ts";
import { socketGroups, type NamespaceSocket } from "./namespace-socket.ts";
import { PodNamespace } from "./pod-namespace.ts";
import { PuDatapath } from "./pu-datapath.ts";
import type { Reporter } from "./reporter.ts";
import { WorkBudget } from "./work-budget.ts";

/** Messages a receive takes at once, and the room for each: the largest IP packet and its netlink attributes. */
const BATCH_SLOTS = 32;
const SLOT_BYTES = 65_536 + 1_024;
/** Verdicts of one batch, with replaced packets. */
const VERDICT_BYTES = 256 * 1_024;
/** Held packets that are worked on before the queues are looked at again. */
const WORK_SLICE = 16;
const WORKS_PER_PACKET = 2;
const HELD_TOTAL = 4_096;
const RETRY_MS = 5;
/** Namespaces whose queues' counters are read in one turn: each costs some 20 µs. */
const OVERFLOW_SLICE = 8;
const SOURCES_REMEMBERED = 8_192;

/** The times of one step: monotonic for state, wall clock for tokens. */
export interface Clock {
  /** Monotonic, ms. */
  readonly now: () => number;
  /** Wall clock, ms since 1970. */
  readonly wall: () => number;
}

export interface DatapathOptions {
  readonly environment: EngineEnvironment;
  readonly identities: () => IdentityCache;
  readonly marks: VerdictMarks;
  readonly limits: LimitsConfig;
  readonly reporter: Reporter;
  readonly clock: Clock;
}

export class Datapath {
  readonly #options: DatapathOptions;
  readonly #units = new Map<string, PuDatapath>();
  readonly #namespaces = new Map<bigint, PodNamespace>();
  readonly #sockets = new Map<number, NamespaceSocket>();
  readonly #poller: Poller;
  readonly #batch = new ReceiveBatch(BATCH_SLOTS, SLOT_BYTES);
  readonly #verdicts = new VerdictWriter(VERDICT_BYTES);
  readonly #queuePacket = createQueuePacket();
  readonly #held: HeldPackets;
  readonly #budget: WorkBudget;
  /** Namespaces whose turn to be asked for overflows is still to come. */
  #overflowTurn: PodNamespace[] = [];
  #nextToken = 1;
  #isWorkScheduled = false;

  constructor(options: DatapathOptions) {
    this.#options = options;
    const { limits, clock } = options;
    this.#held = new HeldPackets({ perQueue: limits.heldPackets, total: HELD_TOTAL, holdMs: limits.heldMs });
    this.#budget = new WorkBudget(
      {
        perSecond: limits.verificationsPerSecond,
        perSourcePerSecond: limits.verificationsPerSourcePerSecond,
        sources: SOURCES_REMEMBERED,
      },
      clock.now(),
    );
    this.#poller = new Poller((tokens, count) => this.#serve(tokens, count), { lingers: true });
  }

  /** What the PUs of this node are. */
  get attributeSets(): Attributes[] {
    return [...this.#units.values()].map(({ description }) => description.attributes);
  }

  /** Takes over the queues of a PU's namespace, unless it has them already. Throws `Error`, and then nothing of the PU stays. */
  attach(description: PuDescription): void {
    this.detach(description.id);
    const namespace = this.#openNamespace(description.netnsFd);
    const unit = new PuDatapath(description, namespace, this.#options.environment);
    try {
      namespace.add(unit);
    } catch (error) {
      unit.engine.close();
      this.#closeIfEmpty(namespace);
      throw error;
    }
    this.#units.set(description.id, unit);
  }

  /** Lets go of a PU; its rules stay, so its traffic stops. */
  detach(puId: string): void {
    const unit = this.#units.get(puId);
    if (unit === undefined) return;
    this.#units.delete(puId);
    unit.engine.close();
    if (unit.token !== undefined) this.#options.identities().forgetOwn(unit.token);
    for (const held of this.#held.take(unit)) this.#dropNow(held, "unit-unknown");
    unit.namespace.remove(unit);
    this.#closeIfEmpty(unit.namespace);
  }

  #openNamespace(netnsFd: number): PodNamespace {
    const cookie = netnsCookie(netnsFd);
    const known = this.#namespaces.get(cookie);
    if (known !== undefined) return known;
    const namespace = new PodNamespace(cookie, netnsFd);
    namespace.open(() => this.#nextToken++, this.#options.limits.queueLength);
    this.#namespaces.set(cookie, namespace);
    for (const socket of namespace.sockets) {
      this.#sockets.set(socket.token, socket);
      this.#poller.add(socket.netlink.fd, socket.token);
    }
    return namespace;
  }

  #closeIfEmpty(namespace: PodNamespace): void {
    if (!namespace.isEmpty) return;
    this.#namespaces.delete(namespace.cookie);
    for (const socket of namespace.sockets) {
      this.#poller.remove(socket.netlink.fd);
      this.#sockets.delete(socket.token);
    }
    namespace.close();
  }

  /** From now on the PU's handshakes carry this token. */
  setToken(puId: string, token: OwnToken): void {
    const unit = this.#units.get(puId);
    if (unit !== undefined) unit.token = token;
  }

  /** Ends what has been silent too long. Call about four times a second. */
  expire(): void {
    const nowMs = this.#options.clock.now();
    for (const unit of this.#units.values()) {
      for (const expiry of unit.engine.expire(nowMs)) {
        if (expiry.action === "authorise")
          this.#guard(() => unit.namespace.authorise(expiry.flow, this.#options.marks));
        else this.#options.reporter.count(expiry.reason, 1, unit.description.id);
      }
      const evicted = unit.engine.takeEvicted();
      if (evicted > 0) this.#options.reporter.count("connection-evicted", evicted, unit.description.id);
    }
  }

  /** Counts what the kernel dropped, for a few namespaces in turn. Call about four times a second. */
  countOverflows(): void {
    if (this.#overflowTurn.length === 0) this.#overflowTurn = [...this.#namespaces.values()];
    for (const namespace of this.#overflowTurn.splice(0, OVERFLOW_SLICE)) {
      if (namespace.isEmpty) continue;
      const packets = this.#guard(() => namespace.takeOverflow()) ?? 0;
      if (packets > 0) this.#options.reporter.count("queue-overflow", packets);
    }
  }

  close(): void {
    for (const puId of [...this.#units.keys()]) this.detach(puId);
    this.#poller.close();
  }

  /** The poller's call: one round over the ready sockets, the SYN sockets last. */
  #serve(tokens: Uint32Array, count: number): void {
    for (const group of socketGroups) {
      for (let index = 0; index < count; index += 1) {
        const socket = this.#sockets.get(tokens[index] ?? 0);
        if (socket?.group === group) this.#serveSocket(socket);
      }
    }
    if (this.#held.size > 0) this.#scheduleWork(0);
  }

  /** One batch of a socket. Readiness is level-triggered: what is left comes with the next round. */
  #serveSocket(socket: NamespaceSocket): void {
    const receivedMs = this.#options.clock.now();
    const count = this.#guard(() => socket.netlink.receive(this.#batch)) ?? 0;
    for (let slot = 0; slot < count; slot += 1) this.#receiveSlot(socket, slot, receivedMs);
    this.#flush(socket);
  }

  #receiveSlot(socket: NamespaceSocket, slot: number, receivedMs: number): void {
    const { view, bytes } = this.#batch;
    const queued = this.#queuePacket;
    const kind = decodeQueuePacket(view, this.#batch.offset(slot), this.#batch.length(slot), queued);
    if (kind === "other") return;
    if (kind !== "packet") {
      this.#options.reporter.count("queue-error");
      return;
    }
    const unit = socket.namespace.unitOf(deviceOf(queued));
    if (unit === undefined) {
      this.#dropUnknown(socket);
      return;
    }
    const packet = bytes.subarray(queued.payloadOffset, queued.payloadOffset + queued.payloadLength);
    const held: HeldPacket = {
      socket,
      unit,
      queue: queued.queue as Queue,
      packetId: queued.id,
      mark: queued.mark,
      packet,
      receivedMs,
    };
    this.#decide(held);
  }

  /** A packet of an interface that belongs to no PU (one that is being added, or was let go). */
  #dropUnknown(socket: NamespaceSocket): void {
    if (!this.#verdicts.fits(0)) this.#flush(socket);
    this.#verdicts.drop(this.#queuePacket.queue, this.#queuePacket.id);
    this.#options.reporter.count("unit-unknown");
  }

  /** One packet, one verdict; or the packet is kept until work is done. */
  #decide(held: HeldPacket): void {
    const { unit } = held;
    const nowMs = this.#options.clock.now();
    if (held.queue === 4 && unit.namespace.ownSegments.recognise(held.packet, nowMs)) {
      this.#accept(held, undefined, undefined);
      return;
    }
    this.#carryOut(held, this.#step(held, nowMs), nowMs);
  }

  /** An engine throws for nothing that a packet can hold. Should one do so, it costs that packet, and not the thread that serves all pods. */
  #step({ unit, queue, packet }: HeldPacket, nowMs: number): Outcome {
    try {
      return unit.engine.step(queue, packet, nowMs, this.#options.clock.wall());
    } catch (error) {
      this.#options.reporter.note(error);
      return drop("internal-error");
    }
  }

  #carryOut(held: HeldPacket, outcome: Outcome, nowMs: number): void {
    if (outcome.verdict === "hold") {
      this.#hold(held);
      return;
    }
    if (outcome.verdict === "accept") {
      this.#accept(held, verdictMark(this.#options.marks, held.mark, outcome.mark), outcome.packet);
      if (outcome.reason !== undefined) this.#count(held, outcome.reason);
    } else this.#drop(held, outcome.reason);
    if (outcome.emit !== undefined) this.#emit(held, outcome.emit, nowMs);
    this.#account(held, outcome);
  }

  /** The verdict goes first: conntrack sees a reset of ours as the end of the flow, and would call the packet invalid afterwards. */
  #emit(held: HeldPacket, emissions: readonly Emission[], nowMs: number): void {
    this.#flush(held.socket);
    for (const emission of emissions) this.#guard(() => held.socket.namespace.emit(emission, nowMs));
  }

  /** Adds the packet's time to its handshake, and hands on the decision that was made with it. */
  #account(held: HeldPacket, outcome: Exclude<Outcome, { verdict: "hold" }>): void {
    const handshake = outcome.verdict === "accept" ? outcome.handshake : undefined;
    if (handshake === undefined && outcome.record === undefined) return;
    let spentMs = this.#options.clock.now() - held.receivedMs;
    if (handshake !== undefined) spentMs = handshake.spentMs += spentMs;
    if (outcome.record === undefined) return;
    this.#options.reporter.flow(outcome.record, this.#options.clock.wall(), Math.round(spentMs * 1_000));
  }

  #accept(held: HeldPacket, mark: number | undefined, packet: Uint8Array | undefined): void {
    if (!this.#verdicts.fits(packet?.length ?? 0)) this.#flush(held.socket);
    const { queue, packetId } = held;
    if (mark !== undefined && mark !== held.mark && isSavedWhereQueued(queue))
      this.#verdicts.repeat(queue, packetId, mark, packet);
    else this.#verdicts.accept(queue, packetId, mark, packet);
  }

  #drop(held: HeldPacket, reason: Reason): void {
    if (!this.#verdicts.fits(0)) this.#flush(held.socket);
    this.#verdicts.drop(held.queue, held.packetId);
    this.#count(held, reason);
  }

  #count({ unit }: HeldPacket, reason: Reason): void {
    this.#options.reporter.count(reason, 1, unit.description.id);
  }

  #dropNow(held: HeldPacket, reason: Reason): void {
    this.#drop(held, reason);
    this.#flush(held.socket);
  }

  /** Sends the verdicts written since the last call; all of them belong to this socket. */
  #flush(socket: NamespaceSocket): void {
    if (this.#verdicts.length === 0) return;
    this.#guard(() => {
      socket.netlink.send(this.#verdicts);
    });
    this.#verdicts.reset();
  }

  #hold(held: HeldPacket): void {
    const isCopied = held.packet.buffer !== this.#batch.bytes.buffer;
    const kept = isCopied ? held : { ...held, packet: Uint8Array.from(held.packet) };
    if (!this.#held.add(kept)) this.#drop(held, "hold-full");
  }

  #scheduleWork(delayMs: number): void {
    if (this.#isWorkScheduled) return;
    this.#isWorkScheduled = true;
    const run = (): void => {
      this.#isWorkScheduled = false;
      this.#workOnHeld();
    };
    if (delayMs === 0) setImmediate(run);
    else setTimeout(run, delayMs);
  }

  /** Goes through what waits: does a slice of work under the budget, gives up on what has waited too long, leaves the rest. */
  #workOnHeld(): void {
    let slice = WORK_SLICE;
    let isBudgetSpent = false;
    for (const held of this.#held.takeAll()) {
      const answer = this.#workOn(held, slice > 0 && !isBudgetSpent);
      if (answer === "worked") slice -= 1;
      if (answer === "budget-spent") isBudgetSpent = true;
      this.#flush(held.socket);
    }
    if (this.#held.size > 0) this.#scheduleWork(isBudgetSpent ? RETRY_MS : 0);
  }

  #workOn(held: HeldPacket, mayWork: boolean): "worked" | "waits" | "budget-spent" {
    const nowMs = this.#options.clock.now();
    if (this.#held.isExpired(held, nowMs)) {
      this.#drop(held, "hold-expired");
      return "waits";
    }
    if (mayWork) return this.#stepAndWork(held, nowMs);
    this.#hold(held);
    return "waits";
  }

  /** Steps, works, and steps again; a packet can need its token verified and its keys agreed, and no more than that. */
  #stepAndWork(held: HeldPacket, nowMs: number): "worked" | "budget-spent" {
    for (let works = 0; works <= WORKS_PER_PACKET; works += 1) {
      const outcome = this.#step(held, nowMs);
      if (outcome.verdict !== "hold") {
        this.#carryOut(held, outcome, nowMs);
        return "worked";
      }
      const answer = this.#budget.take(sourceKey(outcome.work), nowMs);
      if (answer === "total-exhausted") {
        this.#hold(held);
        return "budget-spent";
      }
      const refusal =
        answer === "source-exhausted" ? "budget-spent" : this.#guard(() => this.#perform(outcome.work));
      if (refusal !== undefined) {
        this.#drop(held, refusal);
        return "worked";
      }
    }
    this.#drop(held, "hold-expired");
    return "worked";
  }

  /** The asymmetric work itself; its result lies in the cache afterwards, but for keys that cannot be agreed: that is a reason. */
  #perform(work: Work): Reason | undefined {
    const identities = this.#options.identities();
    if (work.kind === "verify") {
      identities.verify(work.suite, work.token, work.certificates, this.#options.clock.wall());
      return undefined;
    }
    const keys = identities.agree(work.own, work.peer, work.role);
    return typeof keys === "string" ? keys : undefined;
  }

  /** An operation of the kernel may fail (a namespace that has just gone): counted, never a crash. */
  #guard<T>(operation: () => T): T | undefined {
    try {
      return operation();
    } catch (error) {
      this.#options.reporter.failure(error);
      return undefined;
    }
  }
}

/** The PU's interface. What a pod forwards has both devices, also on its way out. */
function deviceOf({ queue, inDevice, outDevice }: QueuePacket): number {
  const isInbound = queue <= 2 || queue === 5;
  return isInbound ? inDevice : outDevice;
}

function sourceKey(work: Work): string {
  return Buffer.from(work.source.buffer, work.source.byteOffset, work.source.length).toString("latin1");
}
