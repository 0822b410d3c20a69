/** Owns what the engine of one PU knows: its tables, and the packet in hand. The roles' files change it; nothing else does. */
import { writeDestinationAddress, writeSourceAddress } from "../packet/addresses.ts";
import type { Packet } from "../packet/packet.ts";
import type { TcpRewriter } from "../packet/tcp-rewriter.ts";
import type { AddressFlow } from "./address-flow.ts";
import { AnsweredRing } from "./answered-ring.ts";
import { CandidateTable } from "./candidate-table.ts";
import type { ClientConnection } from "./client-connection.ts";
import type { EngineEnvironment, ProcessingUnit } from "./environment.ts";
import type { FlowKey } from "./flow-key.ts";
import { loadFlowKey } from "./flow-key.ts";
import { FlowTable } from "./flow-table.ts";
import { PathMtus } from "./path-mtus.ts";
import { RefusedFlows } from "./refused-flows.ts";
import { RecentFlows } from "./recent-flows.ts";
import { ResetBudget } from "./reset-budget.ts";
import { TokenLog } from "./token-log.ts";

export class EngineState {
  readonly unit: ProcessingUnit;
  readonly environment: EngineEnvironment;

  readonly clients: FlowTable<ClientConnection>;
  readonly candidates: CandidateTable;
  readonly answered: AnsweredRing;
  readonly addressFlows: FlowTable<AddressFlow>;
  readonly recent: RecentFlows;
  readonly refused: RefusedFlows;
  readonly resets: ResetBudget;
  readonly paths: PathMtus;
  readonly tokens = new TokenLog();
  /** SYNs that the kernel was given, for `Candidate.order`. */
  synCount = 0;
  /** Client connections and address flows that made room for newer ones. */
  evicted = 0;

  // The call in hand
  readonly packet: Packet;
  readonly key: FlowKey;
  readonly rewriter: TcpRewriter;
  isInbound = false;
  nowMs = 0;
  wallMs = 0;

  private readonly seed: number;

  constructor(unit: ProcessingUnit, environment: EngineEnvironment) {
    const { limits, scratch } = environment;
    this.unit = unit;
    this.environment = environment;
    this.clients = new FlowTable(limits.pending);
    this.candidates = new CandidateTable({
      total: limits.halfOpen,
      perToken: limits.halfOpenPerToken,
      perFlow: limits.candidatesPerFlow,
    });
    this.answered = new AnsweredRing(limits.answered, environment.answeredRoom);
    this.addressFlows = new FlowTable(limits.addressFlows);
    this.recent = new RecentFlows(limits.recent, limits.recentMs);
    this.refused = new RefusedFlows(limits.refused);
    this.resets = new ResetBudget(limits.resetsPerSecond);
    this.paths = new PathMtus(limits.paths, limits.pathMs);
    this.packet = scratch.packet;
    this.key = scratch.key;
    this.rewriter = scratch.rewriter;
    this.seed = randomSeed(environment);
  }

  /** Loads the key of the parsed packet; ports are 0 where its protocol has none. */
  loadKey(): void {
    loadFlowKey(this.key, this.packet, this.isInbound, this.seed);
  }

  /** The seed of this engine's keys, for those of quoted packets. */
  get keySeed(): number {
    return this.seed;
  }

  /** The peer's address of the packet in hand, 16 bytes, valid until the next call. */
  remote(): Uint8Array {
    const into = this.environment.scratch.remote;
    if (this.isInbound) writeSourceAddress(this.packet, into);
    else writeDestinationAddress(this.packet, into);
    return into;
  }

  /** Our own address of the packet in hand, 16 bytes, valid until the next call. */
  local(): Uint8Array {
    const into = this.environment.scratch.local;
    if (this.isInbound) writeDestinationAddress(this.packet, into);
    else writeSourceAddress(this.packet, into);
    return into;
  }

  /** What a packet to the peer may measure, in bytes: the interface's MTU, or less where the path is known. */
  pathMtu(): number {
    return Math.min(this.unit.mtu, this.paths.mtuTo(this.key, this.nowMs));
  }

  localPort(): number {
    return this.isInbound ? this.packet.destinationPort : this.packet.sourcePort;
  }

  remotePort(): number {
    return this.isInbound ? this.packet.sourcePort : this.packet.destinationPort;
  }
}

function randomSeed(environment: EngineEnvironment): number {
  const bytes = new Uint8Array(4);
  environment.fillRandom(bytes);
  return new DataView(bytes.buffer).getInt32(0);
}
