/** Owns the decision: may this unit talk to that peer. The datapath, `policy test` and the demo all ask here. Source: README.md of this folder. */
import type { Attributes } from "./attributes.ts";
import { AttributeInterner } from "./interner.ts";
import type { Decision, Direction, NamedPolicy, Policy, Requirement } from "./model.ts";
import { SelectorIndex } from "./selector.ts";
import { finish, type Steps } from "./steps.ts";
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
  return finish(compileSteps([policy.policies]));
}

/**
 * Compiles a policy whose parts are read as they come, in the order of the file. What each of `units` needs to be judged is
 * made ready too, which for others happens at their first question.
 */
export function* compileSteps(
  slices: Iterable<readonly NamedPolicy[]>,
  units: Iterable<Attributes> = [],
): Steps<CompiledPolicy> {
  const subjects: Record<Direction, SubjectEntry[]> = { ingress: [], egress: [] };
  const orders = { ingress: 0, egress: 0 };
  for (const slice of slices) {
    yield undefined;
    for (const named of slice) {
      for (const direction of ["ingress", "egress"] as const) {
        const rules = named[direction].map((rule) => prepareRule(rule, orders[direction]++));
        // A policy without a rule in this direction says nothing about it.
        if (rules.length > 0) subjects[direction].push({ requirements: named.subject, value: { rules } });
      }
      yield undefined;
    }
  }
  const evaluator = new Evaluator({
    ingress: yield* SelectorIndex.build(subjects.ingress),
    egress: yield* SelectorIndex.build(subjects.egress),
  });
  for (const unit of units) yield* evaluator.prepare(unit);
  return evaluator;
}

interface SubjectEntry {
  readonly requirements: readonly Requirement[];
  readonly value: PreparedPolicy;
}

class Evaluator implements CompiledPolicy {
  readonly #policies: Readonly<Record<Direction, SelectorIndex<PreparedPolicy>>>;
  readonly #identities = new AttributeInterner();
  /** By the id of the unit's attributes. */
  readonly #views = { ingress: new Map<number, UnitView>(), egress: new Map<number, UnitView>() };
  /** The same views by what they are made of: units of one kind share one. */
  readonly #sharedViews = { ingress: new Map<string, UnitView>(), egress: new Map<string, UnitView>() };

  constructor(policies: Readonly<Record<Direction, SelectorIndex<PreparedPolicy>>>) {
    this.#policies = policies;
  }

  *prepare(self: Attributes): Steps<undefined> {
    for (const direction of ["ingress", "egress"] as const) yield* this.#viewSteps(direction, self);
    return undefined;
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
    const known = this.#views[direction].get(this.#identities.idOf(self));
    return known ?? finish(this.#viewSteps(direction, self));
  }

  *#viewSteps(direction: Direction, self: Attributes): Steps<UnitView> {
    const policies = this.#policies[direction].find(self);
    yield undefined;
    const key = viewKey(policies, self);
    yield undefined;
    const view = this.#sharedViews[direction].get(key) ?? (yield* UnitView.build(policies, self));
    this.#sharedViews[direction].set(key, view);
    this.#views[direction].set(this.#identities.idOf(self), view);
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
