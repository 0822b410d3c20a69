/** Owns enforcer.yaml on disk: reading it, and one error that holds everything wrong with it. */
import { hostname } from "node:os";
import { OperationError } from "../operation-error.ts";
import { formatProblem } from "../policy/problem.ts";
import { loadConfig, type ConfigFlags, type EnforcerConfig } from "./config.ts";
import { readTextFile } from "./text-file.ts";

/** Reads and checks enforcer.yaml. Throws `OperationError` with every problem, one a line. */
export function readConfig(path: string, flags: ConfigFlags): EnforcerConfig {
  const text = readTextFile(path, "write one (README.md has an example), or name another with --config");
  const result =
    typeof text === "string"
      ? loadConfig(text, flags, hostname(), path)
      : ({ ok: false, problems: [text] } as const);
  if (result.ok) return result.config;
  const problems = result.problems.map(formatProblem).join("\n");
  throw new OperationError("config-invalid", "read configuration", problems);
}
