/**
 * A pod as its rule set and enforcer make it, without a kernel: which segment crosses which queue, what a mark does, what leaves and
 * what arrives. Source: design, "In the pod's namespace".
 */
import { Engine } from "../../enforcer/handshake/engine.ts";
import type { FlowRecord } from "../../enforcer/handshake/flow-record.ts";
import type { Emission, Outcome, Queue, Work } from "../../enforcer/handshake/outcome.ts";
import { formatAddress } from "../../enforcer/policy/addresses.ts";
import type { Reason } from "../../enforcer/reason.ts";
import type { TestNode, TestUnit } from "./fixtures.ts";
import { startWallMs } from "./fixtures.ts";
import { ACK, readSegment, RST, SYN } from "./segments.ts";
import type { Segment } from "./segments.ts";

/** What a crossing led to. */
export interface Crossing {
  readonly queue: Queue;
  readonly verdict: "accept" | "drop";
  readonly reason: Reason | undefined;
  readonly mark: "none" | "judged" | "authorised" | undefined;
}

export class EnforcedPod {
  readonly unit: TestUnit;
  readonly node: TestNode;
  engine: Engine;
  nowMs = 0;
  /** Of the wall clock, against the tests' start. */
  clockSkewMs = 0;
  /** What left for the network, and what the stack got. */
  readonly sent: Buffer[] = [];
  readonly delivered: Buffer[] = [];
  readonly crossings: Crossing[] = [];
  readonly records: FlowRecord[] = [];
  readonly marked = new Set<string>();
  /** Called for each packet that leaves or arrives, instead of collecting it. */
  onSend: ((packet: Buffer) => void) | undefined;
  onDeliver: ((packet: Buffer) => void) | undefined;
  /** Called for each verdict, with the packet that was judged. */
  onCross:
    ((queue: Queue, packet: Buffer, outcome: Exclude<Outcome, { verdict: "hold" }>) => void) | undefined;
  /** While false the enforcer is dead: what is queued is dropped. */
  isEnforcing = true;

  constructor(node: TestNode, unit: TestUnit) {
    this.node = node;
    this.unit = unit;
    this.engine = new Engine(unit, node.environment);
  }

  get wallMs(): number {
    return startWallMs + this.nowMs + this.clockSkewMs;
  }

  get lastCrossing(): Crossing | undefined {
    return this.crossings.at(-1);
  }

  /** The enforcer starts anew: state is gone, marks stay. */
  restart(): void {
    this.engine = new Engine(this.unit, this.node.environment);
  }

  /** The stack sends a packet. */
  send(packet: Buffer): void {
    const segment = readSegment(packet);
    const flow = flowName(segment, false);
    const hasSyn = (segment.flags & SYN) !== 0;
    if (hasSyn) this.marked.delete(flow);
    if (!hasSyn && this.marked.has(flow)) {
      this.leave(packet);
      return;
    }
    this.cross(hasSyn ? 3 : 4, packet, flow);
  }

  /** A packet comes from the network. */
  receive(packet: Buffer): void {
    const segment = readSegment(packet);
    const flow = flowName(segment, true);
    const hasSyn = (segment.flags & SYN) !== 0;
    if (hasSyn && (segment.flags & RST) !== 0) return;
    if (hasSyn) {
      this.cross((segment.flags & ACK) === 0 ? 0 : 1, packet, flow);
      return;
    }
    if (this.marked.has(flow)) {
      this.arrive(packet);
      return;
    }
    this.cross(2, packet, flow);
  }

  expire(): void {
    for (const expiry of this.engine.expire(this.nowMs)) {
      if (expiry.action !== "authorise") continue;
      const { local, localPort, remote, remotePort } = expiry.flow;
      this.marked.add(`${formatAddress(local)} ${localPort} ${formatAddress(remote)} ${remotePort}`);
    }
  }

  /** One call of the engine, and its asymmetric work if it asks for some. */
  judge(queue: Queue, packet: Buffer): Exclude<Outcome, { verdict: "hold" }> {
    for (let tries = 0; tries < 4; tries++) {
      const outcome = this.engine.step(queue, packet, this.nowMs, this.wallMs);
      if (outcome.verdict !== "hold") return outcome;
      const failed = this.work(outcome.work);
      if (failed !== undefined) return { verdict: "drop", reason: failed };
    }
    throw new Error("the engine asks for the same work again");
  }

  private work(work: Work): Reason | undefined {
    const { identities } = this.node;
    if (work.kind === "verify") {
      identities.verify(work.suite, work.token, work.certificates, this.wallMs);
      return undefined;
    }
    const keys = identities.agree(work.own, work.peer, work.role);
    return typeof keys === "string" ? keys : undefined;
  }

  private cross(queue: Queue, packet: Buffer, flow: string): void {
    if (!this.isEnforcing) return;
    const before = Buffer.from(packet);
    const outcome = this.judge(queue, packet);
    if (!before.equals(packet)) throw new Error("the engine wrote to a packet that it borrowed");
    this.onCross?.(queue, packet, outcome);
    const isAccepted = outcome.verdict === "accept";
    this.crossings.push({
      queue,
      verdict: outcome.verdict,
      reason: isAccepted ? undefined : outcome.reason,
      mark: isAccepted ? outcome.mark : undefined,
    });
    if (outcome.record !== undefined) this.records.push(outcome.record);
    if (isAccepted)
      this.accept(
        queue,
        outcome.packet === undefined ? packet : Buffer.from(outcome.packet),
        outcome.mark,
        flow,
      );
    for (const emission of outcome.emit ?? []) this.emit(emission);
  }

  private accept(queue: Queue, packet: Buffer, mark: Crossing["mark"], flow: string): void {
    if (mark === "authorised") this.marked.add(flow);
    if (queue >= 3) {
      this.leave(packet);
      return;
    }
    const hasSyn = (readSegment(packet).flags & SYN) !== 0;
    if (!hasSyn || mark === "judged") this.arrive(packet);
  }

  private emit({ packet, to }: Emission): void {
    if (to === "peer") this.leave(Buffer.from(packet));
    else this.arrive(Buffer.from(packet));
  }

  private leave(packet: Buffer): void {
    if (this.onSend === undefined) this.sent.push(packet);
    else this.onSend(packet);
  }

  private arrive(packet: Buffer): void {
    if (this.onDeliver === undefined) this.delivered.push(packet);
    else this.onDeliver(packet);
  }
}

/** A flow as this pod's conntrack names it. */
function flowName(segment: Segment, isInbound: boolean): string {
  const [local, localPort, remote, remotePort] = isInbound
    ? [segment.to, segment.toPort, segment.from, segment.fromPort]
    : [segment.from, segment.fromPort, segment.to, segment.toPort];
  return `${local} ${localPort} ${remote} ${remotePort}`;
}
