/**
 * `make test` (everything) and `make lint` (argument `lint`): runs checks and suites one after the other, and ends with their sum alone on a
 * line. With CI=true a skipped test counts as failed, unless skips.json names it with a reason.
 */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { nodeBinary, repository } from "./harness/binaries.ts";
import { run } from "./harness/command.ts";
import { sweepDeadLabs } from "./harness/lab.ts";
import { prepare } from "./prepare.ts";
import { countTests, noTests, sum, type Counts, type ListedSkip, type VitestReport } from "./test-count.ts";

const modules = join(repository, "node_modules");
const results = join(repository, "build/test-results");
const parts = ["plugin", "enforcer", "netlink", "install", "conformance", "test"];

/** Static checks: name and command (a script of a module, run by the pinned runtime). */
const checks: readonly (readonly [string, readonly string[]])[] = [
  ["types", ["typescript/bin/tsc", "-p", "."]],
  ["lint", ["eslint/bin/eslint.js", "--max-warnings=0", "."]],
  ["format", ["prettier/bin/prettier.cjs", "--check", "--log-level=warn", "."]],
  [
    "layers",
    ["dependency-cruiser/bin/dependency-cruiser.mjs", "--config", ".dependency-cruiser.js", ...parts],
  ],
  ["unused code", ["knip/bin/knip.js", "--no-progress"]],
];

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function seconds(sinceMs: number): string {
  return `${((performance.now() - sinceMs) / 1000).toFixed(1)} s`;
}

async function runChecks(): Promise<Counts> {
  let counts = noTests;
  for (const [name, [script = "", ...parameters]] of checks) {
    const begin = performance.now();
    const result = await run([nodeBinary, join(modules, script), ...parameters], {
      cwd: repository,
      timeoutMs: 600_000,
    });
    const passed = result.status === 0;
    say(`check: ${name} ${passed ? "passed" : "FAILED"} (${seconds(begin)})`);
    if (!passed) say(result.stdout + result.stderr);
    counts = sum(counts, { ...noTests, passed: Number(passed), failed: Number(!passed) });
  }
  return counts;
}

async function runSuite(project: string, listed: readonly ListedSkip[] | undefined): Promise<Counts> {
  say(`suite: ${project}`);
  const report = join(results, `${project}.json`);
  rmSync(report, { force: true });
  const vitest = [join(modules, "vitest/vitest.mjs"), "run", "--project", project];
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const { status } = await run([nodeBinary, ...vitest, ...reporters], {
    cwd: repository,
    timeoutMs: 1_500_000,
    onOutput: (piece) => process.stdout.write(piece),
  });
  try {
    return countTests(JSON.parse(readFileSync(report, "utf8")) as VitestReport, status, listed, say);
  } catch (error) {
    say(`suite ${project} left no report: ${String(error)}`);
    return { ...noTests, failed: 1 };
  }
}

async function main(): Promise<void> {
  const onlyLint = process.argv[2] === "lint";
  let counts = await runChecks();
  if (!onlyLint) {
    mkdirSync(results, { recursive: true });
    await prepare(say);
    sweepDeadLabs();
    const skips = JSON.parse(readFileSync(join(repository, "test/skips.json"), "utf8")) as ListedSkip[];
    const listed = process.env["CI"] === "true" ? skips : undefined;
    for (const project of ["unit", "integration"]) counts = sum(counts, await runSuite(project, listed));
  }
  say(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  process.exitCode = counts.failed === 0 ? 0 : 1;
}

await main();
