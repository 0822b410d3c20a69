/** The table of cases in README.md names files and tests that there are. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const folder = import.meta.dirname;

interface Row {
  readonly file: string;
  readonly name: string;
  readonly proof: string;
}

/** `| case | [label](file) "name" | proof |` */
const rowPattern = /^\| [^|]+ \| \[[^\]]+\]\(([^)]+)\) "([^"|]+)" *\| ([^|]*[^ |]) *\|$/;

/** Lines of the one table, less its head. */
const lines = readFileSync(join(folder, "README.md"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("|"))
  .slice(2);

const rows: Row[] = lines.map((line) => {
  const [, file = "", name = "", proof = ""] = rowPattern.exec(line.replace(/ +/g, " ")) ?? [];
  return { file, name, proof };
});

test("every row of the table has a file, a test and a proof", () => {
  expect(lines.filter((_, index) => rows[index]?.proof === "")).toEqual([]);
  expect(rows.length).toBeGreaterThan(20);
});

test.each(rows)("$file has a test called $name", ({ file, name }) => {
  const path = join(folder, file);
  expect(existsSync(path)).toBe(true);
  expect(readFileSync(path, "utf8")).toContain(`"${name}"`);
});
