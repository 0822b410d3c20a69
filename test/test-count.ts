/** Counting what vitest reports: pure. */

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export const noTests: Counts = { passed: 0, failed: 0, skipped: 0 };

/** A test that may be skipped although CI=true. */
export interface ListedSkip {
  /** Its full name: the titles of its suites and its own, with spaces between. */
  readonly test: string;
  readonly reason: string;
}

/** The part of vitest's JSON report that is counted. */
export interface VitestReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

export function sum(left: Counts, right: Counts): Counts {
  return {
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  };
}

/**
 * Sums a report up. With `listed`, a skipped test that isn't in it counts as failed. A file that failed as a whole (it can't be loaded, a hook
 * threw) and a run that failed although no test did (`exitStatus`) count as one failure each.
 */
export function countTests(
  report: VitestReport,
  exitStatus: number,
  listed: readonly ListedSkip[] | undefined,
  say: (line: string) => void,
): Counts {
  let [passed, failed, skipped] = [0, 0, 0];
  for (const file of report.testResults) {
    const failedBefore = failed;
    for (const { fullName, status } of file.assertionResults) {
      if (status === "passed") passed++;
      else if (status === "failed") failed++;
      else if (listed === undefined || listed.some(({ test }) => test === fullName.trim())) skipped++;
      else {
        failed++;
        say(`skipped, and not in test/skips.json: ${fullName}`);
      }
    }
    if (file.status === "failed" && failed === failedBefore) failed++;
  }
  if (exitStatus !== 0 && failed === 0) failed = 1;
  if (passed + failed + skipped === 0) failed = 1;
  return { passed, failed, skipped };
}
