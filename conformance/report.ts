/** Owns what a run of the suite prints. */
import { requirementCount, without } from "./requirements.ts";
import type { Result } from "./runner.ts";

/** One line a case, then the requirements without one, then a sum. */
export function formatTable(results: readonly Result[]): string {
  const lines = results.map(({ requirement, title, outcome, reason, elapsedMs }) => {
    const head = `${String(requirement).padStart(4)}  ${outcome.padEnd(7)}  ${String(elapsedMs).padStart(6)} ms  ${title}`;
    return reason === undefined
      ? head
      : `${head}\n        ${reason.split("\n").join("\n        ").slice(0, 1200)}`;
  });
  const absent = [...without].map(
    ([number, reason]) => `${String(number).padStart(4)}  no case here: ${reason}`,
  );
  return [...lines, ...absent, summary(results), ""].join("\n");
}

function summary(results: readonly Result[]): string {
  const count = (outcome: Result["outcome"]): number =>
    results.filter((result) => result.outcome === outcome).length;
  const covered = new Set(results.map(({ requirement }) => requirement)).size;
  return `${results.length} cases of ${covered} requirements (of ${requirementCount}): ${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`;
}

export function formatJson(results: readonly Result[]): string {
  return `${JSON.stringify({ version: 1, results, without: Object.fromEntries(without) }, null, 2)}\n`;
}
