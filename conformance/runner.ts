/** Owns running cases: each at a site of its own, some at a time, results in the cases' order. */
import type { Case, Skip } from "./case.ts";
import { Site } from "./site.ts";

export interface Result {
  readonly requirement: number;
  readonly title: string;
  readonly outcome: "passed" | "failed" | "skipped";
  /** Why it failed or was skipped. */
  readonly reason: string | undefined;
  readonly elapsedMs: number;
}

export async function runAll(
  cases: readonly Case[],
  plugin: string,
  jobs: number,
): Promise<readonly Result[]> {
  const results = new Map<Case, Result>();
  const waiting = cases.filter(({ isAlone }) => isAlone !== true);
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      results.set(next, await runCase(next, plugin));
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  waiting.push(...cases.filter(({ isAlone }) => isAlone === true));
  await worker();
  return cases.flatMap((entry) => results.get(entry) ?? []);
}

async function runCase({ requirement, title, needs, run }: Case, plugin: string): Promise<Result> {
  const startedAt = performance.now();
  const result = (outcome: Result["outcome"], reason?: string): Result => ({
    requirement,
    title,
    outcome,
    reason,
    elapsedMs: Math.round(performance.now() - startedAt),
  });
  try {
    const skip = await atSite(plugin, needs, run);
    return skip === undefined ? result("passed") : result("skipped", skip.skipped);
  } catch (error) {
    return result("failed", error instanceof Error ? error.message : String(error));
  }
}

/** Opens a site for one case and closes it whatever happens. */
async function atSite(plugin: string, needs: Case["needs"], run: Case["run"]): Promise<Skip | undefined> {
  const site = await Site.open(plugin, needs);
  try {
    return await run(site);
  } finally {
    await site.close();
  }
}
