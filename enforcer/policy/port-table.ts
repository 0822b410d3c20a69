/** Owns the decision by protocol and port, once the rules that match a peer are known: deny beats allow, else the first rule of the file names itself. */
import type { Action, Decision, PortRange } from "./model.ts";

/** A rule as the table needs it: what it decides, and where. */
export interface PortRule {
  readonly action: Action;
  readonly ports: readonly PortRange[] | undefined;
  readonly decision: Decision;
}

interface Painted {
  /** Ascending first ports of the pieces; the first is 0. */
  readonly starts: readonly number[];
  readonly decisions: readonly Decision[];
}

const PORT_END = 65536;

/** Built from the rules that match one peer, in the order of the file; each protocol's ports are cut into pieces when it is first asked. */
export class PortTable {
  readonly #rules: readonly PortRule[];
  readonly #otherwise: Decision;
  readonly #painted = new Map<number, Painted>();

  /** `otherwise` is the decision where no rule has the port. */
  constructor(rules: readonly PortRule[], otherwise: Decision) {
    this.#rules = [
      ...rules.filter((rule) => rule.action === "deny"),
      ...rules.filter((rule) => rule.action === "allow"),
    ];
    this.#otherwise = otherwise;
  }

  decide(protocol: number, port: number): Decision {
    if (this.#rules.length === 0) return this.#otherwise;
    let painted = this.#painted.get(protocol);
    if (painted === undefined) {
      painted = paint(this.#rules, protocol, this.#otherwise);
      this.#painted.set(protocol, painted);
    }
    return painted.decisions[pieceOf(painted.starts, port)] ?? this.#otherwise;
  }
}

function pieceOf(starts: readonly number[], port: number): number {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((starts[middle] ?? PORT_END) <= port) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Gives every piece to the first rule that has it. `next` skips what is painted, so that each piece is painted once. */
function paint(rules: readonly PortRule[], protocol: number, otherwise: Decision): Painted {
  const strokes = rules.flatMap((rule) => strokesOf(rule, protocol));
  const bounds = [0, PORT_END, ...strokes.flatMap((stroke) => [stroke.first, stroke.last + 1])];
  const starts = [...new Set(bounds)].sort((left, right) => left - right);
  const pieceAt = new Map(starts.map((start, index) => [start, index]));
  const decisions = starts.map(() => otherwise);
  const next = starts.map((_, index) => index);
  for (const { first, last, decision } of strokes) {
    const end = pieceAt.get(last + 1) ?? 0;
    for (
      let piece = unpainted(next, pieceAt.get(first) ?? end);
      piece < end;
      piece = unpainted(next, piece)
    ) {
      decisions[piece] = decision;
      next[piece] = piece + 1;
    }
  }
  return { starts, decisions };
}

function strokesOf(rule: PortRule, protocol: number): { first: number; last: number; decision: Decision }[] {
  const ranges = rule.ports?.filter((range) => range.protocol === protocol) ?? [
    { first: 0, last: PORT_END - 1 },
  ];
  return ranges.map(({ first, last }) => ({ first, last, decision: rule.decision }));
}

/** The first unpainted piece from here on, halving the way for the next who asks. */
function unpainted(next: number[], from: number): number {
  let piece = from;
  for (let after = next[piece] ?? piece; after !== piece; after = next[piece] ?? piece) {
    next[piece] = next[after] ?? after;
    piece = after;
  }
  return piece;
}
