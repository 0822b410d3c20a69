/** Owns what a run has found: measures by contestant and round, remarks, and targets; as text and as build/bench.json. */
import { ratioOf, spreadOf, type Spread } from "./statistics.ts";

export interface Measure {
  readonly title: string;
  readonly unit: string;
  /** Contestants that the others are divided by. */
  readonly against: readonly string[];
}

export interface Target {
  readonly name: string;
  readonly value: number;
  /** What the value must be: "<= 2". */
  readonly limit: string;
  readonly met: boolean;
}

interface Recorded extends Measure {
  readonly values: Map<string, number[]>;
}

export class BenchRecord {
  readonly #measures = new Map<string, Recorded>();
  readonly #targets: Target[] = [];
  readonly #remarks: string[] = [];

  /** One value of one round. The measure's first call says what it is. */
  add(key: string, measure: Measure, contestant: string, value: number): void {
    const recorded = this.#measures.get(key) ?? { ...measure, values: new Map<string, number[]>() };
    this.#measures.set(key, recorded);
    recorded.values.set(contestant, [...(recorded.values.get(contestant) ?? []), value]);
  }

  values(key: string, contestant: string): readonly number[] {
    return this.#measures.get(key)?.values.get(contestant) ?? [];
  }

  /** The median over rounds of the ratio of two contestants; NaN where one is missing. */
  ratio(key: string, contestant: string, against: string): number {
    const recorded = this.#measures.get(key);
    if (recorded === undefined) return NaN;
    return ratioOf(recorded.values, contestant, against)?.median ?? NaN;
  }

  remark(line: string): void {
    this.#remarks.push(line);
  }

  atMost(name: string, value: number, limit: number): void {
    this.#targets.push({ name, value, limit: `<= ${limit}`, met: value <= limit });
  }

  atLeast(name: string, value: number, limit: number): void {
    this.#targets.push({ name, value, limit: `>= ${limit}`, met: value >= limit });
  }

  get targets(): readonly Target[] {
    return this.#targets;
  }

  toText(): string {
    const tables = [...this.#measures.values()].map(measureTable);
    return [...tables, this.#remarks.join("\n"), targetTable(this.#targets)].join("\n\n");
  }

  /** Everything, for build/bench.json. */
  toDocument(): object {
    const measures = [...this.#measures].map(([key, { title, unit, values }]) => {
      return [key, { title, unit, rounds: Object.fromEntries(values) }] as const;
    });
    return { targets: this.#targets, measures: Object.fromEntries(measures), remarks: this.#remarks };
  }
}

/** Median and range of the rounds, then the same of the ratios to each contestant that is compared with. */
function measureTable({ title, unit, against, values }: Recorded): string {
  const bases = against.filter((name) => values.has(name));
  const head = [`${title} (${unit})`, "median", "min..max", ...bases.map((name) => `x ${name}`)];
  const rows = [...values].map(([contestant, rounds]) => {
    const { median, min, max } = spreadOf(rounds);
    const ratios = bases.map((base) => showRatio(ratioOf(values, contestant, base)));
    return [`  ${contestant}`, show(median), `${show(min)}..${show(max)}`, ...ratios];
  });
  return columns([head, ...rows]);
}

function targetTable(targets: readonly Target[]): string {
  const rows = targets.map(({ name, value, limit, met }) => [
    `  ${name}`,
    show(value),
    limit,
    met ? "met" : "NOT MET",
  ]);
  return columns([["targets", "value", "limit", ""], ...rows]);
}

function showRatio(ratio: Spread | undefined): string {
  if (ratio === undefined) return "-";
  return `${ratio.median.toFixed(2)} (${ratio.min.toFixed(2)}..${ratio.max.toFixed(2)})`;
}

/** Three digits are all that such a machine can tell. */
function show(value: number): string {
  if (!Number.isFinite(value)) return "-";
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

function columns(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return rows.map(line).join("\n");
}
