/** Owns running cases: each at a site of its own, some at a time, results in the cases' order. */
import type { Case, Skip } from "./case.ts";
import { Site, type Beside } from "./site.ts";

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
  beside?: Beside,
): Promise<readonly Result[]> {
  const results = new Map<Case, Result>();
  const waiting = cases.filter(({ isAlone }) => isAlone !== true);
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      results.set(next, await runCase(next, plugin, beside));
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  waiting.push(...cases.filter(({ isAlone }) => isAlone === true));
  await worker();
  return cases.flatMap((entry) => results.get(entry) ?? []);
}

async function runCase(
  { requirement, title, needs, run }: Case,
  plugin: string,
  beside: Beside | undefined,
): Promise<Result> {
  const startedAt = performance.now();
  const result = (outcome: Result["outcome"], reason?: string): Result => ({
    requirement,
    title,
    outcome,
    reason,
    elapsedMs: Math.round(performance.now() - startedAt),
  });
  try {
    const skip = await atSite(await Site.open(plugin, needs, beside), run);
    return skip === undefined ? result("passed") : result("skipped", skip.skipped);
  } catch (error) {
    return result("failed", error instanceof Error ? error.message : String(error));
  }
}

/** Runs one case, and closes its site whatever happens. */
async function atSite(site: Site, run: Case["run"]): Promise<Skip | undefined> {
  try {
    return await run(site);
  } finally {
    await site.close();
  }
}
