/** Owns the decision: may this unit talk to that peer. The datapath, `policy test` and the demo all ask here. Source: README.md of this folder. */
import type { Attributes } from "./attributes.ts";
import { AttributeInterner } from "./interner.ts";
import type { Decision, Direction, Policy } from "./model.ts";
import { SelectorIndex } from "./selector.ts";
import { type PreparedPolicy, prepareRule, UnitView, viewKey } from "./unit-view.ts";

export type { Decision };

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

const protocolNumbers: Readonly<Record<ProtocolName, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  icmpv6: 58,
  sctp: 132,
};

/** Attribute sets known at once; beyond that everything cached is forgotten and built anew. */
const MAX_ATTRIBUTE_SETS = 65_536;

/** Compiles once per change. The policy must come from `parsePolicy`. */
export function compilePolicy(policy: Policy): CompiledPolicy {
  return new Evaluator(policy);
}

class Evaluator implements CompiledPolicy {
  readonly #policies: Readonly<Record<Direction, SelectorIndex<PreparedPolicy>>>;
  readonly #identities = new AttributeInterner();
  /** By the id of the unit's attributes. */
  readonly #views = { ingress: new Map<number, UnitView>(), egress: new Map<number, UnitView>() };
  /** The same views by what they are made of: units of one kind share one. */
  readonly #sharedViews = { ingress: new Map<string, UnitView>(), egress: new Map<string, UnitView>() };

  constructor(policy: Policy) {
    this.#policies = { ingress: indexSubjects(policy, "ingress"), egress: indexSubjects(policy, "egress") };
  }

  evaluate(
    direction: Direction,
    self: Attributes,
    peer: Attributes,
    protocol: ProtocolName,
    port: number,
  ): Decision {
    const view = this.#viewOf(direction, self);
    return view.judgeIdentity(this.#identities.idOf(peer), peer, protocolNumbers[protocol], port);
  }

  evaluateAddress(
    direction: Direction,
    self: Attributes,
    address: Uint8Array,
    protocol: number,
    port: number,
  ): Decision {
    return this.#viewOf(direction, self).judgeAddress(address, protocol, port);
  }

  mayInitiate(self: Attributes): boolean {
    return this.#viewOf("egress", self).mayMatchIdentity(protocolNumbers.tcp);
  }

  #viewOf(direction: Direction, self: Attributes): UnitView {
    if (this.#identities.size >= MAX_ATTRIBUTE_SETS) this.#forget();
    const id = this.#identities.idOf(self);
    let view = this.#views[direction].get(id);
    if (view === undefined) {
      view = this.#makeView(direction, self);
      this.#views[direction].set(id, view);
    }
    return view;
  }

  #makeView(direction: Direction, self: Attributes): UnitView {
    const policies = this.#policies[direction].find(self);
    const key = viewKey(policies, self);
    const view = this.#sharedViews[direction].get(key) ?? new UnitView(policies, self);
    this.#sharedViews[direction].set(key, view);
    return view;
  }

  #forget(): void {
    this.#identities.clear();
    for (const direction of ["ingress", "egress"] as const) {
      this.#views[direction].clear();
      this.#sharedViews[direction].clear();
    }
  }
}

/** Only policies with a rule in this direction: the others say nothing about it. */
function indexSubjects(policy: Policy, direction: Direction): SelectorIndex<PreparedPolicy> {
  const relevant = policy.policies.filter((named) => named[direction].length > 0);
  let order = 0;
  return new SelectorIndex(
    relevant.map((named) => ({
      requirements: named.subject,
      value: { rules: named[direction].map((rule) => prepareRule(rule, order++)) },
    })),
  );
}
