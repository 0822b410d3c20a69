/** ATTACKS.md tells the truth: every attack has its row, every patch applies and has its attack, and what is shipped has no switch. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { repository } from "../harness/binaries.ts";
import { attacks } from "./attacks.ts";
import { applyPatch, patchFile, patchNames } from "./patched-source.ts";

/** A patch that changes more lines than this takes out more than a check. */
const CHANGES_MAXIMUM = 24;

const read = (path: string): string => readFileSync(join(repository, path), "utf8");

/** The cells of every row of the page's tables, less headings. */
function rows(): string[][] {
  return read("enforcer/handshake/ATTACKS.md")
    .split("\n")
    .filter((line) => line.startsWith("| ") && !/^\| (attack|-+) /.test(line))
    .map((line) => line.slice(1, -1).split("|"))
    .map((cells) => cells.map((cell) => cell.trim()));
}

test("the page has every attack, in order, with who stops it, what is counted, and the patch", () => {
  const published = rows().map(([name, , stopped, patch]) => [name, stopped, patch]);
  const real = attacks.map(({ name, stopped: { by, reason }, patch }) => [
    name,
    `${by}, ${reason === undefined ? "a rule" : `\`${reason}\``}`,
    `\`${patch}\``,
  ]);
  expect(published).toEqual(real);
});

test("the files that the page names are there", () => {
  const named = rows().flatMap(([, check = ""]) => [...check.matchAll(/`([^`]+\.ts)`/g)]);
  const sources = [...shipped("enforcer", "plugin").keys()];
  const missing = named
    .map(([, name = ""]) => name)
    .filter((name) => !sources.some((path) => path === name || path.endsWith(`/${name}`)));
  expect(missing).toEqual([]);
});

test("attacks have names of their own", () => {
  expect(new Set(attacks.map(({ name }) => name)).size).toBe(attacks.length);
});

test("every patch is some attack's, and every attack has one", () => {
  expect(patchNames().sort()).toEqual([...new Set(attacks.map(({ patch }) => patch))].sort());
});

describe.each(patchNames())("%s.patch", (name) => {
  const text = readFileSync(patchFile(name), "utf8");

  test("applies to the source as it is", async () => {
    await applyPatch(name, repository, "--check");
  });

  test("says what it takes out, and is small", () => {
    expect(text).toMatch(/^Takes out: /);
    expect(text.split("\n").filter((line) => /^[+-](?![+-])/.test(line)).length).toBeLessThanOrEqual(
      CHANGES_MAXIMUM,
    );
  });

  test("touches the product alone", () => {
    const touched = [...text.matchAll(/^\+\+\+ b\/(.*)$/gm)].map(([, path]) => path);
    expect(touched.filter((path) => path?.match(/^(enforcer|plugin)\/.*\.ts$/) === null)).toEqual([]);
  });
});

/** Sources of what is shipped, by path. */
function shipped(...folders: readonly string[]): Map<string, string> {
  const paths = folders.flatMap((folder) =>
    readdirSync(join(repository, folder), { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".ts") && !path.startsWith("dist"))
      .map((path) => join(folder, path)),
  );
  return new Map(paths.map((path) => [path, read(path)]));
}

describe("no switch in what is shipped", () => {
  test("the enforcer reads nothing from its environment", () => {
    const readers = [...shipped("enforcer", "netlink")].filter(([, text]) =>
      /process\.env|\benv\b\s*[.[]/.test(text),
    );
    expect(readers.map(([path]) => path)).toEqual([]);
  });

  test("the plugin reads what CNI defines, and how long its launcher took", () => {
    const names = [...shipped("plugin").values()].flatMap((text) => [
      ...text.matchAll(/\benv\["([A-Z_]+)"\]/g),
    ]);
    expect([...new Set(names.map(([, name]) => name))].sort()).toEqual([
      "CNI_ARGS",
      "CNI_COMMAND",
      "CNI_CONTAINERID",
      "CNI_IFNAME",
      "CNI_NETNS",
      "CNI_NETNS_OVERRIDE",
      "TRIREME_CNI_ELAPSED_MS",
    ]);
  });

  test("nothing that is shipped knows of the tests", () => {
    const knowing = [...shipped("enforcer", "plugin", "netlink")].filter(([, text]) =>
      /from "[^"]*\/test\//.test(text),
    );
    expect(knowing.map(([path]) => path)).toEqual([]);
  });
});
