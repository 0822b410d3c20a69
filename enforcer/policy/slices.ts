/**
 * Owns the form in which a policy goes from one thread to another: texts that cost nothing to hand over and little to read
 * one by one, since a large policy cloned whole would stop the thread that gets it.
 */
import type { NamedPolicy, Policy, Rule } from "./model.ts";

/** A policy as it is handed over. */
export interface SlicedPolicy {
  /** How many there were. */
  readonly policies: number;
  /** JSON of a list of `NamedPolicy` each, in the order of the file; each has a buffer of its own, which can be transferred. */
  readonly slices: readonly Uint8Array<ArrayBuffer>[];
}

interface SliceSize {
  /** Peers of one part of a policy. */
  readonly peers: number;
  /** Characters from which on a slice is full. */
  readonly characters: number;
}

const usual: SliceSize = { peers: 64, characters: 16_384 };

/** Large policies and rules are split into several of the same name and subject, which decide the same. */
export function slicePolicy(policy: Policy, size: SliceSize = usual): SlicedPolicy {
  const slices: Uint8Array<ArrayBuffer>[] = [];
  let texts: string[] = [];
  let characters = 0;
  const flush = (): void => {
    if (texts.length > 0) slices.push(new TextEncoder().encode(`[${texts.join(",")}]`));
    texts = [];
    characters = 0;
  };
  for (const part of policy.policies.flatMap((named) => partsOf(named, size.peers))) {
    const text = JSON.stringify(part);
    texts.push(text);
    characters += text.length;
    if (characters >= size.characters) flush();
  }
  flush();
  return { policies: policy.policies.length, slices };
}

/** Reads one slice with each step; they come from `slicePolicy`, so nothing is checked. */
export function* readSlices({ slices }: SlicedPolicy): Generator<readonly NamedPolicy[]> {
  for (const slice of slices) yield JSON.parse(new TextDecoder().decode(slice)) as NamedPolicy[];
}

function partsOf(named: NamedPolicy, peers: number): NamedPolicy[] {
  const rules = [...named.ingress, ...named.egress];
  if (rules.reduce((sum, rule) => sum + rule.peers.length, 0) <= peers) return [named];
  const split = (direction: "ingress" | "egress"): NamedPolicy[] =>
    named[direction]
      .flatMap((rule) => splitRule(rule, peers))
      .map((rule) => ({ ...named, ingress: [], egress: [], [direction]: [rule] }));
  return [...split("ingress"), ...split("egress")];
}

function splitRule(rule: Rule, peers: number): Rule[] {
  const parts = Math.ceil(rule.peers.length / peers);
  return Array.from({ length: parts }, (_, part) => ({
    ...rule,
    peers: rule.peers.slice(part * peers, (part + 1) * peers),
  }));
}
