/** The table of cases in README.md has every case, names files and tests that there are, and leaves out no file of this folder. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const folder = import.meta.dirname;

/** What the table is about; each is the beginning of a row, at least. */
const cases = [
  ["SYN lost", "SYN-ACK lost", "ACK lost", "first data lost", "FIN lost", "random loss"],
  ["reordering", "duplicates", "port reuse, TIME_WAIT", "port reuse, conntrack in CLOSE", "RST of an open"],
  ["half-close idle", "simultaneous open", "ECN", "accurate ECN", "TFO", "MPTCP", "SYN cookies"],
  ["TCP_DEFER_ACCEPT", "full accept queue", "windows from 536 bytes", "next-hop MTU 1300", "SNAT", "DNAT"],
  ["stripped marker", "unaware receiver", "server first", "client first", "data sent at once", "closed port"],
  ["client restarted", "server restarted", "lost conntrack entry"],
].flat();

interface Row {
  readonly about: string;
  readonly file: string;
  readonly name: string;
  readonly proof: string;
}

/** `| case | [label](file) "name" | proof |` */
const rowPattern = /^\| ([^|]+) \| \[[^\]]+\]\(([^)]+)\) "([^"|]+)" *\| ([^|]*[^ |]) *\|$/;

/** Lines of the one table, less its head. */
const lines = readFileSync(join(folder, "README.md"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("|"))
  .slice(2);

const rows: Row[] = lines.map((line) => {
  const [, about = "", file = "", name = "", proof = ""] = rowPattern.exec(line.replace(/ +/g, " ")) ?? [];
  return { about, file, name, proof };
});

test("every row of the table has a file, a test and a proof", () => {
  expect(lines.filter((_, index) => rows[index]?.proof === "")).toEqual([]);
  expect(rows.length).toBeGreaterThan(20);
});

test.each(cases)("%s is among the cases", (name) => {
  expect(rows.filter(({ about }) => about.startsWith(name))).not.toEqual([]);
});

test.each(rows)("$file has a test called $name", ({ file, name }) => {
  const path = join(folder, file);
  expect(existsSync(path)).toBe(true);
  expect(readFileSync(path, "utf8")).toContain(`"${name}"`);
});

test("every file of tests in this folder has a row", () => {
  const files = readdirSync(folder).filter((file) => file.endsWith(".integration.test.ts"));
  const named = new Set(rows.map(({ file }) => file));
  expect(files.filter((file) => !named.has(file))).toEqual([]);
});
