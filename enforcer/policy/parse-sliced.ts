/** Joins reading a policy's text and slicing it: what the thread does that reads a policy for others. */
import { parsePolicy } from "./parse.ts";
import type { Problem } from "./problem.ts";
import { slicePolicy, type SlicedPolicy } from "./slices.ts";

export type SlicedResult =
  | { readonly ok: true; readonly policy: SlicedPolicy }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** Reads a policy file's text; `file` only names it in problems. Never throws. */
export function parseSliced(text: string, file: string): SlicedResult {
  const result = parsePolicy(text, file);
  return result.ok ? { ok: true, policy: slicePolicy(result.policy) } : result;
}
