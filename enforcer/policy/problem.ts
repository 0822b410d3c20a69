/** Owns how errors in a file that a person wrote are reported: every one, with its place and its remedy. */

/** One error in a YAML file. */
export interface Problem {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly column: number;
  /** The policy and rule, or the setting, that it concerns: `shop/from-web`, `networks.pods[0]`; empty for the whole file. */
  readonly subject: string;
  /** What is wrong. */
  readonly message: string;
  /** What to write instead. */
  readonly remedy: string;
}

/** `policy.yaml:12:7: shop/from-web: port 70000 is out of range; write 1 to 65535` */
export function formatProblem(problem: Problem): string {
  const place = `${problem.file}:${problem.line}:${problem.column}`;
  const subject = problem.subject === "" ? "" : `${problem.subject}: `;
  return `${place}: ${subject}${problem.message}; ${problem.remedy}`;
}
