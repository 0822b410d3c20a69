/**
 * What the daemon's main thread and the datapath worker tell each other: plain data that survives `postMessage`.
 *
 * The main thread owns files, clocks of renewal and operators; the worker owns every queue socket and all connection
 * state. Neither waits for the other: a request that has an answer names what it is about.
 */
import type { LimitsConfig } from "../config/config.ts";
import type { PackedFlows } from "../handshake/packed-flows.ts";
import type { OwnToken, TrustSnapshot } from "../identity/identity.ts";
import type { NetworksConfig } from "../policy/networks.ts";
import type { SlicedPolicy } from "../policy/slices.ts";
import type { Reason } from "../reason.ts";

/** A processing unit as the worker sees it. */
export interface PuDescription {
  /** 16 hex digits, see `control/messages.ts`. */
  readonly id: string;
  readonly attributes: ReadonlyMap<string, readonly string[]>;
  /** The pod's interface in its namespace, and its MTU in bytes (the largest IP packet). */
  readonly interfaceName: string;
  readonly mtu: number;
  /** An open descriptor of the pod's network namespace; the main thread owns it and keeps it open until `detached`. */
  readonly netnsFd: number;
}

export type ToWorker =
  | {
      readonly kind: "configure";
      readonly networks: NetworksConfig;
      readonly trust: TrustSnapshot;
      readonly markMask: number;
      readonly limits: LimitsConfig;
    }
  | { readonly kind: "trust"; readonly trust: TrustSnapshot }
  | { readonly kind: "policy"; readonly policy: SlicedPolicy; readonly generation: number }
  /** Its first token follows: it is signed while the queues are opened. */
  | { readonly kind: "attach"; readonly pu: PuDescription }
  | { readonly kind: "token"; readonly puId: string; readonly token: OwnToken }
  | { readonly kind: "detach"; readonly puId: string }
  | { readonly kind: "stop" };

export type FromWorker =
  | { readonly kind: "configured" }
  | { readonly kind: "policyApplied"; readonly generation: number }
  | { readonly kind: "attached"; readonly puId: string }
  | { readonly kind: "attachFailed"; readonly puId: string; readonly message: string }
  | { readonly kind: "detached"; readonly puId: string }
  /** Sent at most every 100 ms; counters are totals since the start, so a lost message costs nothing. */
  | {
      readonly kind: "report";
      readonly flows: PackedFlows;
      /** Decisions that the worker could not keep between two reports. */
      readonly flowsLost: number;
      /** Packets by reason: refusals, and what was dropped without a decision. */
      readonly packets: ReadonlyMap<Reason, number>;
      /** For each reason of packets since the last report, the unit that met it last. */
      readonly units: ReadonlyMap<Reason, string>;
      /** What operations of the kernel failed with; each text once a report, ten at most. */
      readonly failures: readonly string[];
    }
  | { readonly kind: "stopped" };
