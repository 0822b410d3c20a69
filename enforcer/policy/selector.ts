/** Owns selectors: whether attributes meet requirements, and which of very many selectors they meet. Source: README.md, "Operators". */
import type { Attributes } from "./attributes.ts";
import type { Requirement } from "./model.ts";
import type { Steps } from "./steps.ts";

/** Whether all requirements hold. A key with several values meets In and Prefix if any value does, NotIn if none is listed. */
function selects(requirements: readonly Requirement[], attributes: Attributes): boolean {
  return requirements.every((requirement) => meets(requirement, attributes));
}

/** Whether one requirement holds. NotIn and DoesNotExist hold where the key is absent. */
export function meets(requirement: Requirement, attributes: Attributes): boolean {
  const values = attributes.get(requirement.key);
  switch (requirement.operator) {
    case "In":
      return values?.some((value) => requirement.values.includes(value)) ?? false;
    case "NotIn":
      return !(values?.some((value) => requirement.values.includes(value)) ?? false);
    case "Prefix":
      return values?.some((value) => requirement.values.some((prefix) => value.startsWith(prefix))) ?? false;
    case "Exists":
      return values !== undefined;
    case "DoesNotExist":
      return values === undefined;
  }
}

interface Entry<T> {
  readonly requirements: readonly Requirement[];
  readonly value: T;
}

/**
 * Finds the selectors that an attribute set meets without trying them all: a selector with an In requirement can only match a set
 * that has one of its values, so it waits under those; of several such requirements, under the one that is least common.
 */
export class SelectorIndex<T> {
  readonly #byValue = new Map<string, number[]>();
  readonly #always: number[] = [];
  readonly #entries: readonly Entry<T>[];

  private constructor(entries: readonly Entry<T>[]) {
    this.#entries = entries;
  }

  static *build<T>(entries: readonly Entry<T>[]): Steps<SelectorIndex<T>> {
    const frequency = new Map<string, number>();
    for (const { requirements } of entries) {
      for (const key of requirements.flatMap((requirement) => valueKeys(requirement) ?? []))
        frequency.set(key, (frequency.get(key) ?? 0) + 1);
      yield undefined;
    }
    const index = new SelectorIndex(entries);
    for (const [position, { requirements }] of entries.entries()) {
      index.#place(position, rarestKeys(requirements, frequency));
      yield undefined;
    }
    return index;
  }

  #place(position: number, keys: readonly string[] | undefined): void {
    for (const key of keys ?? []) appendTo(this.#byValue, key, position);
    if (keys === undefined) this.#always.push(position);
  }

  /** The values whose selectors match, in the order in which they were given. */
  find(attributes: Attributes): T[] {
    const positions = new Set(this.#always);
    for (const [key, values] of attributes) {
      for (const value of values)
        for (const at of this.#byValue.get(pairKey(key, value)) ?? []) positions.add(at);
    }
    const entries = [...positions]
      .sort((left, right) => left - right)
      .map((position) => this.#entries[position]);
    return entries.flatMap((entry) =>
      entry !== undefined && selects(entry.requirements, attributes) ? [entry.value] : [],
    );
  }
}

/** Key and value as one text, unambiguous whatever they contain. */
function pairKey(key: string, value: string): string {
  return `${key.length}:${key}=${value}`;
}

function valueKeys(requirement: Requirement): string[] | undefined {
  return requirement.operator === "In"
    ? requirement.values.map((value) => pairKey(requirement.key, value))
    : undefined;
}

function rarestKeys(
  requirements: readonly Requirement[],
  frequency: ReadonlyMap<string, number>,
): string[] | undefined {
  const cost = (keys: string[]): number => keys.reduce((sum, key) => sum + (frequency.get(key) ?? 0), 0);
  const choices = requirements.flatMap((requirement) => {
    const keys = valueKeys(requirement);
    return keys === undefined ? [] : [{ keys, cost: cost(keys) }];
  });
  return choices.sort((left, right) => left.cost - right.cost)[0]?.keys;
}

function appendTo(lists: Map<string, number[]>, key: string, position: number): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [position]);
  else list.push(position);
}
