/**
 * `node conformance/run.ts --plugin PATH [--only 47,112] [--jobs N] [--json]`: runs the cases against a plugin binary and
 * prints a table. Needs root, `ip` and `nft`. Exit code 0 if every case passed or was skipped, 1 if one failed, 2 on misuse.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { formatTable, formatJson } from "./report.ts";
import { cases } from "./requirements.ts";
import { runAll } from "./runner.ts";

const usage = "usage: node conformance/run.ts --plugin PATH [--only NUMBER,...] [--jobs N] [--json]\n";

function fail(message: string): never {
  process.stderr.write(`${message}\n${usage}`);
  process.exit(2);
}

function readArguments(): { plugin: string; only: readonly number[]; jobs: number; json: boolean } {
  const { values } = parseArgs({
    options: {
      plugin: { type: "string" },
      only: { type: "string", default: "" },
      jobs: { type: "string", default: "2" },
      json: { type: "boolean", default: false },
    },
  });
  if (values.plugin === undefined) return fail("--plugin is missing");
  const only = values.only.split(",").filter(Boolean).map(Number);
  return {
    plugin: resolve(values.plugin),
    only,
    jobs: Math.max(1, Number(values.jobs) || 1),
    json: values.json,
  };
}

async function main(): Promise<void> {
  const options = readArguments();
  if (!existsSync(options.plugin)) fail(`${options.plugin} does not exist`);
  if (process.getuid?.() !== 0) fail("root is needed: the cases make network namespaces");
  const chosen = cases.filter(
    ({ requirement }) => options.only.length === 0 || options.only.includes(requirement),
  );
  const results = await runAll(chosen, options.plugin, options.jobs);
  process.stdout.write(options.json ? formatJson(results) : formatTable(results));
  process.exit(results.some(({ outcome }) => outcome === "failed") ? 1 : 0);
}

try {
  await main();
} catch (error) {
  fail(error instanceof Error ? error.message : String(error));
}
