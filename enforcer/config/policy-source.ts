/** Owns the policy file on disk: reads it, watches it, and keeps the last valid one. */
import type { Policy } from "../policy/model.ts";
import type { Problem } from "../policy/problem.ts";

export type PolicyResult =
  | { readonly ok: true; readonly policy: Policy }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** Reads and validates a policy file. Everything that is wrong, a missing file included, is a problem, never an exception. */
export function loadPolicy(path: string): PolicyResult {
  return {
    ok: false,
    problems: [{ file: path, line: 1, column: 1, subject: "", message: "not yet", remedy: "wait" }],
  };
}

export interface PolicySourceEvents {
  /** A new valid policy, already `current`. */
  onPolicy(policy: Policy): void;
  /** The file is wrong; `current` stays what it was. */
  onProblems(problems: readonly Problem[]): void;
}
