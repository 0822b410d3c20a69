import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { loadPolicy, PolicySource } from "../../enforcer/config/policy-source.ts";

const valid = (name: string): string => `version: 1\npolicies:\n  - { name: ${name}, subject: {} }\n`;

let folder = "";
let path = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "policy-source-"));
  path = join(folder, "policy.yaml");
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("loadPolicy", () => {
  it("reads a valid file", () => {
    writeFileSync(path, valid("a"));
    expect(loadPolicy(path)).toMatchObject({ ok: true, policy: { policies: [{ name: "a" }] } });
  });

  it.each([
    ["a missing file", () => undefined, /ENOENT/],
    ["a folder", () => (path = folder), /not a regular file/],
    ["a file that is too large", () => writeFileSync(path, "#".repeat(1_048_577)), /larger than 1048576/],
  ])("reports %s as a problem", (_, prepare, message) => {
    prepare();
    const result = loadPolicy(path);
    expect(result).toMatchObject({
      ok: false,
      problems: [{ file: path, line: 1, message: expect.stringMatching(message) as string }],
    });
  });
});

describe("PolicySource", () => {
  function start(): { source: PolicySource; events: string[] } {
    const events: string[] = [];
    const source = new PolicySource(path, {
      onPolicy: (policy) => events.push(policy.policies.map((one) => one.name).join()),
      onProblems: (problems) => events.push(`${problems.length} problems`),
    });
    return { source, events };
  }

  it("denies everything before the first file", () => {
    const { source, events } = start();
    source.reload();
    expect([source.current, events]).toEqual([{ version: 1, policies: [] }, ["1 problems"]]);
  });

  it("keeps the last valid policy, whatever comes after it", () => {
    writeFileSync(path, valid("a"));
    const { source, events } = start();
    source.reload();
    const first = source.current;
    for (const text of ["version: 2\n", "[", ""]) {
      writeFileSync(path, text);
      source.reload();
    }
    rmSync(path);
    source.reload();
    expect(source.current).toBe(first);
    expect(events).toEqual(["a", "2 problems", "1 problems", "1 problems", "1 problems"]);
  });

  it("sees files that are rewritten and files that are replaced, once each", async () => {
    writeFileSync(path, valid("a"));
    const { source, events } = start();
    source.reload();
    source.watch(5);
    writeFileSync(path, valid("b"));
    await vi.waitFor(() => expect(events).toEqual(["a", "b"]));
    writeFileSync(join(folder, "next"), valid("c"));
    renameSync(join(folder, "next"), path);
    await vi.waitFor(() => expect(events).toEqual(["a", "b", "c"]));
    await new Promise((resolve) => setTimeout(resolve, 50));
    source.stop();
    expect(events).toEqual(["a", "b", "c"]);
  });
});
