/** The layer rules find a forbidden import, and let a permitted one pass: each case is a small tree of its own. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { cruise, type ICruiseResult } from "dependency-cruiser";
import extractConfiguration from "dependency-cruiser/config-utl/extract-depcruise-config";
import { afterEach, beforeEach, expect, test } from "vitest";

const { forbidden, options } = await extractConfiguration(
  join(import.meta.dirname, "../.dependency-cruiser.js"),
);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "layers-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const cases: { from: string; imports: string; asType?: boolean; finds: string | undefined }[] = [
  { from: "enforcer/packet/a.ts", imports: "enforcer/datapath/b.ts", finds: "enforcer/packet" },
  { from: "enforcer/packet/a.ts", imports: "netlink/b.ts", finds: "enforcer/packet" },
  { from: "enforcer/policy/a.ts", imports: "enforcer/packet/b.ts", finds: "enforcer/policy" },
  { from: "enforcer/identity/a.ts", imports: "enforcer/handshake/b.ts", finds: "enforcer/identity" },
  { from: "enforcer/handshake/a.ts", imports: "enforcer/identity/b.ts", finds: "enforcer/handshake" },
  { from: "enforcer/control/a.ts", imports: "enforcer/datapath/b.ts", finds: "enforcer/control" },
  { from: "enforcer/control/a.ts", imports: "enforcer/telemetry/b.ts", finds: "enforcer/control" },
  { from: "enforcer/telemetry/a.ts", imports: "enforcer/control/b.ts", finds: "enforcer/telemetry" },
  { from: "enforcer/datapath/a.ts", imports: "enforcer/control/b.ts", finds: "enforcer/datapath" },
  { from: "enforcer/datapath/a.ts", imports: "enforcer/main.ts", finds: "enforcer/datapath" },
  { from: "plugin/a.ts", imports: "enforcer/policy/b.ts", finds: "plugin" },
  { from: "netlink/a.ts", imports: "enforcer/reason.ts", finds: "netlink" },
  { from: "enforcer/packet/a.ts", imports: "test/b.ts", finds: "enforcer/packet" },
  { from: "enforcer/packet/a.ts", imports: "enforcer/reason.ts", finds: undefined },
  { from: "enforcer/handshake/a.ts", imports: "enforcer/packet/b.ts", finds: undefined },
  { from: "enforcer/handshake/a.ts", imports: "enforcer/identity/b.ts", asType: true, finds: undefined },
  { from: "enforcer/datapath/a.ts", imports: "netlink/b.ts", finds: undefined },
  { from: "plugin/a.ts", imports: "enforcer/control/messages.ts", finds: undefined },
];

function write(path: string, text: string): void {
  mkdirSync(join(folder, dirname(path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}

async function violations(modules: string[]): Promise<string[]> {
  const { output } = await cruise(modules, {
    ...options,
    tsConfig: {},
    ruleSet: { forbidden: forbidden ?? [] },
    validate: true,
    baseDir: folder,
  });
  return (output as ICruiseResult).summary.violations.map(({ rule }) => rule.name.replace(/:.*/, ""));
}

test.each(cases)("$from imports $imports: $finds", async ({ from, imports, asType = false, finds }) => {
  const path = "../".repeat(from.split("/").length - 1) + imports;
  const value = asType ? "undefined" : "b";
  write(
    from,
    `import ${asType ? "type " : ""}{ b } from "${path}";\nexport const a: typeof b | undefined = ${value};\n`,
  );
  write(imports, "export const b = 1;\n");
  expect((await violations([from, imports]))[0]).toBe(finds);
});
