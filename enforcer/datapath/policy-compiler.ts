/**
 * Owns the change of policy in the worker: a new one is compiled between packets, a little at a time, and takes the place of
 * the old one when it is ready.
 */
import type { Attributes } from "../policy/attributes.ts";
import { compileSteps, type CompiledPolicy } from "../policy/evaluate.ts";
import { readSlices, type SlicedPolicy } from "../policy/slices.ts";
import { finish, type Steps } from "../policy/steps.ts";

/** What packets may wait for it at a time. */
const TURN_MS = 1;

export interface PolicyCompilerOptions {
  readonly apply: (policy: CompiledPolicy, generation: number) => void;
  /** Monotonic, ms. */
  readonly now: () => number;
}

export class PolicyCompiler {
  readonly #options: PolicyCompilerOptions;
  #next: NodeJS.Immediate | undefined;

  constructor(options: PolicyCompilerOptions) {
    this.#options = options;
  }

  /** Where nobody is judged yet, the policy is in force when this returns. One that is still being compiled is given up. */
  start(policy: SlicedPolicy, generation: number, units: readonly Attributes[]): void {
    this.stop();
    const steps = compileSteps(readSlices(policy), units);
    if (units.length === 0) this.#options.apply(finish(steps), generation);
    else this.#goOn(steps, generation);
  }

  stop(): void {
    clearImmediate(this.#next);
  }

  #goOn(steps: Steps<CompiledPolicy>, generation: number): void {
    const endMs = this.#options.now() + TURN_MS;
    do {
      const step = steps.next();
      if (step.done === true) {
        this.#options.apply(step.value, generation);
        return;
      }
    } while (this.#options.now() < endMs);
    this.#next = setImmediate(() => this.#goOn(steps, generation));
  }
}
