/** Owns the policy file on disk: reads it, watches it, and tells what has come of it. A wrong file never replaces a right one. */
import { parsePolicy, type PolicyResult } from "../policy/parse.ts";
import type { Problem } from "../policy/problem.ts";
import type { SlicedResult } from "../policy/parse-sliced.ts";
import type { SlicedPolicy } from "../policy/slices.ts";
import { readPolicy } from "./policy-reader.ts";
import { readTextFile } from "./text-file.ts";

/** Reads and validates a policy file. Everything that is wrong, a missing file included, is a problem, never an exception. */
export function loadPolicy(path: string): PolicyResult {
  const text = readTextFile(path, "write a policy file there, or give its path as policy");
  return typeof text === "string" ? parsePolicy(text, path) : { ok: false, problems: [text] };
}

export interface PolicySourceEvents {
  /** A new valid policy. Not called for a file whose text has not changed. */
  readonly onPolicy: (policy: SlicedPolicy) => void;
  /** The file is wrong or gone; the policy before it stays. Called once for each new state of the file. */
  readonly onProblems: (problems: readonly Problem[]) => void;
}

/**
 * Looks at the policy file again and again: that works for editors that write in place, for those that rename, and for
 * ConfigMap volumes, which swap a symbolic link. One look ends before the next begins, however long a file takes.
 */
export class PolicySource {
  readonly #path: string;
  readonly #events: PolicySourceEvents;
  #timer: NodeJS.Timeout | undefined;
  #lastText: string | undefined;
  #isValid = false;
  #looking: Promise<void> | undefined;

  constructor(path: string, events: PolicySourceEvents) {
    this.#path = path;
    this.#events = events;
  }

  /** Reads the file now, as SIGHUP demands; the events tell what came of it before it resolves, and problems are told again. */
  async reload(): Promise<void> {
    // What is being read may have been written before the demand.
    await this.#looking;
    if (!this.#isValid) this.#lastText = undefined;
    await this.#look();
  }

  /** Looks again and again until `stop`; does not keep the process alive. */
  watch(intervalMs = 500): void {
    this.stop();
    this.#timer = setInterval(() => void this.#look(), intervalMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): Promise<void> {
    this.#looking ??= this.#lookOnce().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async #lookOnce(): Promise<void> {
    const text = readTextFile(this.#path, "write a policy file there; the last valid policy stays in force");
    const state = typeof text === "string" ? text : text.message;
    if (state === this.#lastText) return;
    this.#lastText = state;
    const result: SlicedResult =
      typeof text === "string" ? await readPolicy(text, this.#path) : { ok: false, problems: [text] };
    this.#isValid = result.ok;
    if (result.ok) this.#events.onPolicy(result.policy);
    else this.#events.onProblems(result.problems);
  }
}
