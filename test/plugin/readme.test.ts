/** README.md of plugin/ says what the code says: options, codes, deadlines, versions; and the release is package.json's. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { failures } from "../../plugin/cni-error.ts";
import { verbDeadlinesMs } from "../../plugin/deadline.ts";
import { defaultSocket, readOptions } from "../../plugin/network-config.ts";
import { pluginVersion } from "../../plugin/version.ts";
import { supportedVersions } from "../../plugin/versions.ts";

const root = join(import.meta.dirname, "../..");
const readme = readFileSync(join(root, "plugin/README.md"), "utf8");

/** Cells of the table rows under a heading. */
function rows(heading: string): string[][] {
  const section = readme.split(`## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  const lines = section.split("\n").filter((line) => line.startsWith("|") && !line.startsWith("| -"));
  return lines.slice(1).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll("\\", "")),
  );
}

describe("plugin/README.md", () => {
  it("lists every error code with its meaning", () => {
    expect(rows("Errors")).toEqual(
      Object.values(failures).map(({ code, meaning }) => [String(code), meaning]),
    );
  });

  it("lists every option with its default", () => {
    const defaults: Record<string, string | undefined> = Object.fromEntries(
      rows("Configuration").map(([name = "", , value]) => [name, value] as const),
    );
    expect(Object.keys(defaults)).toEqual(["`type`", "`socket`", "`attributes`", "`timeoutMs`"]);
    const { socket, timeoutMs } = readOptions({});
    expect([socket, defaults["`socket`"]]).toEqual([defaultSocket, `\`${defaultSocket}\``]);
    expect(defaults["`timeoutMs`"]).toBe(`\`${timeoutMs}\``);
  });

  it("lists every verb with its deadline", () => {
    const listed: Record<string, string | undefined> = Object.fromEntries(
      rows("Verbs").map(([verb = "", deadline]) => [verb, deadline] as const),
    );
    const limits = Object.entries(verbDeadlinesMs).map(([verb, ms]) => [verb, `${ms / 1000} s`]);
    expect(listed).toEqual({ ...Object.fromEntries(limits), VERSION: "–" });
    expect(readme).toContain(supportedVersions.join(", "));
  });

  it("has an example that is accepted", () => {
    const example = JSON.parse(/```json\n(.*?)```/s.exec(readme)?.[1] ?? "") as Record<string, unknown>;
    expect(() => readOptions(example)).not.toThrow();
  });
});

it("the plugin's release is the package's", () => {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  expect(pluginVersion).toBe(version);
});
