/** Owns the policy's way from its file to the worker: changes are applied, mistakes are logged and change nothing. */
import { PolicySource } from "../config/policy-source.ts";
import type { Log } from "../log.ts";
import { formatProblem } from "../policy/problem.ts";
import type { SlicedPolicy } from "../policy/slices.ts";

/** Of a file with many mistakes, so many are logged. */
const PROBLEMS_LOGGED = 10;

export class PolicyFeed {
  readonly #source: PolicySource;
  #generation = 0;
  #warning: string | undefined;

  /** `apply` gets each valid policy, with a number that grows; `onRefused` hears of each wrong one. */
  constructor(
    path: string,
    apply: (policy: SlicedPolicy, generation: number) => void,
    onRefused: () => void,
    log: Log,
  ) {
    this.#source = new PolicySource(path, {
      onPolicy: (policy) => {
        this.#generation += 1;
        this.#warning = undefined;
        log.info("policy loaded", {
          file: path,
          generation: this.#generation,
          policies: policy.policies,
        });
        apply(policy, this.#generation);
      },
      onProblems: (problems) => {
        const kept =
          this.#generation === 0 ? "nothing is allowed until it is mended" : "the one before stays in force";
        this.#warning = `policy ${path} is wrong, ${kept}`;
        onRefused();
        log.error("policy refused", { file: path, problems: problems.length, effect: kept });
        for (const problem of problems.slice(0, PROBLEMS_LOGGED)) {
          log.error("policy problem", { problem: formatProblem(problem) });
        }
      },
    });
  }

  /** What is wrong with the file now, in words. */
  get warning(): string | undefined {
    return this.#warning;
  }

  /** Reads the file now; resolves when it has been applied, or refused. */
  reload(): Promise<void> {
    return this.#source.reload();
  }

  /** From now on changes of the file are seen within half a second. */
  watch(): void {
    this.#source.watch();
  }

  stop(): void {
    this.#source.stop();
  }
}
