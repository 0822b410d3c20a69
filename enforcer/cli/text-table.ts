/** Owns how tables and untrusted words are written for people. */

/** Rows under their headings, in columns as wide as their widest cell (or `least`); the last one runs free. No trailing spaces. */
export function formatTable(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  least: readonly number[] = [],
): string {
  const lines = [headings, ...rows.map((row) => row.map(plain))];
  const widths = headings.map((_, column) =>
    Math.max(least[column] ?? 0, ...lines.map((line) => line[column]?.length ?? 0)),
  );
  return lines.map((line) => formatRow(line, widths)).join("");
}

/** One row in columns of given widths (a wider cell pushes the rest); for output whose rows come one by one. */
export function formatRow(cells: readonly string[], widths: readonly number[]): string {
  const padded = cells.map((cell, column) =>
    cell.padEnd(column === cells.length - 1 ? 0 : (widths[column] ?? 0)),
  );
  return `${padded.join("  ").trimEnd()}\n`;
}

/** Some words come from strangers' tokens: nothing of them may steer a terminal. */
export function plain(text: string): string {
  return text.replace(/\p{C}/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16) ?? ""}}`);
}

/** `app=web,tier=front`. */
export function formatAttributes(attributes: Readonly<Record<string, string | readonly string[]>>): string {
  return Object.entries(attributes)
    .flatMap(([key, values]) =>
      (typeof values === "string" ? [values] : values).map((value) => `${key}=${value}`),
    )
    .join(",");
}
