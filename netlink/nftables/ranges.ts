/**
 * Ranges of set keys in the one form that the kernel's interval sets have: sorted, without overlap or touching
 * neighbours, each begun by an element and ended by a flagged one behind its last key.
 */
import type { AnonymousSet, SetRange } from "./model.ts";

/** One element as it travels: `end` marks the first key behind an interval. */
export interface SetElement {
  readonly key: Uint8Array;
  readonly end: boolean;
}

/** Sorted and merged; what two equal sets have in common. */
export function normalRanges(ranges: readonly SetRange[]): SetRange[] {
  const sorted = [...ranges].sort((a, b) => Buffer.compare(a.from, b.from) || Buffer.compare(a.to, b.to));
  const merged: SetRange[] = [];
  for (const range of sorted) {
    const last = merged.at(-1);
    if (last !== undefined && Buffer.compare(range.from, last.to) <= 0) {
      if (Buffer.compare(range.to, last.to) > 0)
        merged[merged.length - 1] = { from: last.from, to: range.to };
    } else merged.push(range);
  }
  return merged;
}

/** Whether the set needs NFT_SET_INTERVAL. */
export function hasIntervals({ ranges }: AnonymousSet): boolean {
  return ranges.some(({ from, to }) => Buffer.compare(from, to) !== 0);
}

export function toElements(set: AnonymousSet): SetElement[] {
  const ranges = normalRanges(set.ranges);
  if (!hasIntervals(set)) return ranges.map(({ from }) => ({ key: from, end: false }));
  const joined = joinNeighbours(ranges);
  const elements = joined.flatMap(({ from, to }) => {
    const behind = successor(to);
    return [{ key: from, end: false }, ...(behind === undefined ? [] : [{ key: behind, end: true }])];
  });
  return startsAtZero(joined) ? elements : [{ key: new Uint8Array(set.keyLength), end: true }, ...elements];
}

/** Ranges of an interval set from its elements, in any order; undefined if they don't pair up. */
export function fromIntervalElements(
  elements: readonly SetElement[],
  keyLength: number,
): SetRange[] | undefined {
  const sorted = [...elements].sort((a, b) => Buffer.compare(a.key, b.key) || Number(b.end) - Number(a.end));
  const ranges: SetRange[] = [];
  let from: Uint8Array | undefined;
  for (const { key, end } of sorted) {
    if (end && from === undefined && !isZero(key)) return undefined;
    if (!end && from !== undefined) return undefined;
    const last = predecessor(key);
    if (end && from !== undefined && last !== undefined) ranges.push({ from, to: last });
    from = end ? undefined : key;
  }
  return from === undefined ? ranges : [...ranges, { from, to: new Uint8Array(keyLength).fill(0xff) }];
}

/** In an interval set, touching ranges can't be told from one. */
export function joinNeighbours(ranges: readonly SetRange[]): SetRange[] {
  const joined: SetRange[] = [];
  for (const range of normalRanges(ranges)) {
    const last = joined.at(-1);
    const behind = last === undefined ? undefined : successor(last.to);
    if (last !== undefined && behind !== undefined && Buffer.compare(behind, range.from) === 0) {
      joined[joined.length - 1] = { from: last.from, to: range.to };
    } else joined.push(range);
  }
  return joined;
}

function startsAtZero(ranges: readonly SetRange[]): boolean {
  const [first] = ranges;
  return first !== undefined && isZero(first.from);
}

function isZero(key: Uint8Array): boolean {
  return key.every((byte) => byte === 0);
}

/** The next key, big-endian; undefined behind the last. */
function successor(key: Uint8Array): Uint8Array | undefined {
  return step(key, 0xff, 1);
}

function predecessor(key: Uint8Array): Uint8Array | undefined {
  return step(key, 0x00, -1);
}

/** Carries through bytes equal to `wraps`. */
function step(key: Uint8Array, wraps: number, by: 1 | -1): Uint8Array | undefined {
  const next = key.slice();
  for (let index = next.length - 1; index >= 0; index--) {
    const byte = next[index] ?? 0;
    next[index] = byte + by;
    if (byte !== wraps) return next;
  }
  return undefined;
}
