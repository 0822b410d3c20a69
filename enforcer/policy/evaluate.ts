/** Owns the decision: may this unit talk to that peer. The datapath, `policy test` and the demo all ask here. Source: README.md of this folder. */
import type { Reason } from "../reason.ts";
import type { Attributes } from "./attributes.ts";
import type { Direction, Policy } from "./model.ts";

/** Shared and frozen: never changed by a caller. */
export interface Decision {
  readonly verdict: "allow" | "deny";
  readonly reason: Reason;
  /** The rule that decided, as `policy/rule`; undefined where no rule did. */
  readonly rule: string | undefined;
}

export type ProtocolName = "tcp" | "udp" | "sctp" | "icmp" | "icmpv6";

/** A policy ready to answer in near-constant time, whatever its size. Never throws. */
export interface CompiledPolicy {
  /**
   * One end's decision on a peer whose identity is verified. Ingress: self is the server and `port` its own;
   * egress: self is the client and `port` the server's real one.
   */
  evaluate(
    direction: Direction,
    self: Attributes,
    peer: Attributes,
    protocol: ProtocolName,
    port: number,
  ): Decision;
  /**
   * One end's decision on a peer without identity. `address` is the peer's, 16 bytes, IPv4 mapped, borrowed; `protocol` the IP
   * protocol number; `port` the server's (ingress: our own, egress: the peer's), 0 where there is none.
   */
  evaluateAddress(
    direction: Direction,
    self: Attributes,
    address: Uint8Array,
    protocol: number,
    port: number,
  ): Decision;
  /** False if no egress rule of this unit can match any identity by TCP, so that no token has to leave. */
  mayInitiate(self: Attributes): boolean;
}

/** Compiles once per change. The policy must come from `parsePolicy`. */
export function compilePolicy(policy: Policy): CompiledPolicy {
  throw new Error(`not yet: ${policy.version}`);
}
