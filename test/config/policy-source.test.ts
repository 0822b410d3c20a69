import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { loadPolicy, PolicySource } from "../../enforcer/config/policy-source.ts";
import { readSlices } from "../../enforcer/policy/slices.ts";

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
      onPolicy: (policy) => {
        const named = [...readSlices(policy)].flat();
        expect(named).toHaveLength(policy.policies);
        events.push(named.length > 3 ? `${named.length} policies` : named.map(({ name }) => name).join());
      },
      onProblems: (problems) => events.push(problems.map(({ message }) => message.slice(0, 40)).join()),
    });
    return { source, events };
  }

  it("tells of a valid policy once, and of what is wrong with each file after it", async () => {
    const { source, events } = start();
    await source.reload();
    writeFileSync(path, valid("a"));
    await source.reload();
    await source.reload();
    for (const text of ["version: 2\n", "["]) {
      writeFileSync(path, text);
      await source.reload();
      await source.reload();
    }
    expect(events[0]).toMatch(/ENOENT/);
    expect(events[1]).toBe("a");
    expect(events.slice(2, 4)).toEqual([events[2], events[2]]);
    expect(events).toHaveLength(6);
  });

  it("sees files that are rewritten and files that are replaced, once each", async () => {
    writeFileSync(path, valid("a"));
    const { source, events } = start();
    await source.reload();
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

  it("reads a large file in a thread of its own, one file after the other, wrong ones too", async () => {
    const many = Array.from({ length: 1_000 }, (_, index) => `  - { name: p${index}, subject: {} }\n`).join(
      "",
    );
    const { source, events } = start();
    writeFileSync(path, `version: 1\npolicies:\n${many}`);
    let turns = 0;
    const ticking = setInterval(() => (turns += 1), 1);
    const first = source.reload();
    await new Promise(setImmediate);
    expect(events).toEqual([]);
    writeFileSync(path, `version: 1\npolicies:\n${many}  - { name: p0, subject: {} }\n`);
    await source.reload();
    writeFileSync(path, valid("a"));
    await source.reload();
    clearInterval(ticking);
    await first;
    expect(events).toEqual(["1000 policies", 'the name "p0" is taken', "a"]);
    expect(turns).toBeGreaterThan(0);
  });
});
