/** Medians and spreads of what was measured in rounds. */

/** Of the values of all rounds. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? NaN)) / 2;
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** Values of each contestant, one a round. */
export type Series = ReadonlyMap<string, readonly number[]>;

/** The ratios of two contestants, round by round: what disturbs a round disturbs both. Undefined if either wasn't measured. */
export function ratioOf(series: Series, contestant: string, against: string): Spread | undefined {
  const values = series.get(contestant);
  const base = series.get(against);
  if (values === undefined || base === undefined || values.length !== base.length) return undefined;
  return spreadOf(values.map((value, round) => value / (base[round] ?? NaN)));
}
