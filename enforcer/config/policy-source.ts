/** Owns the policy file on disk: reads it, watches it, and keeps the last valid one. A wrong file never replaces a right one. */
import { emptyPolicy, type Policy } from "../policy/model.ts";
import { parsePolicy, type PolicyResult } from "../policy/parse.ts";
import type { Problem } from "../policy/problem.ts";
import { readTextFile } from "./text-file.ts";

/** Reads and validates a policy file. Everything that is wrong, a missing file included, is a problem, never an exception. */
export function loadPolicy(path: string): PolicyResult {
  const text = readTextFile(path, "write a policy file there, or give its path as policy");
  return typeof text === "string" ? parsePolicy(text, path) : { ok: false, problems: [text] };
}

export interface PolicySourceEvents {
  /** A new valid policy, already `current`. Not called for a file whose text has not changed. */
  readonly onPolicy: (policy: Policy) => void;
  /** The file is wrong or gone; `current` stays what it was. Called once for each new state of the file. */
  readonly onProblems: (problems: readonly Problem[]) => void;
}

/**
 * The policy in force. It starts with `emptyPolicy`, which denies everything. The file is looked at again every `intervalMs`: that
 * works for editors that write in place, for those that rename, and for ConfigMap volumes, which swap a symbolic link.
 */
export class PolicySource {
  readonly #path: string;
  readonly #events: PolicySourceEvents;
  #timer: NodeJS.Timeout | undefined;
  #current: Policy = emptyPolicy;
  #lastText: string | undefined;
  #isValid = false;

  constructor(path: string, events: PolicySourceEvents) {
    this.#path = path;
    this.#events = events;
  }

  /** The last valid policy. */
  get current(): Policy {
    return this.#current;
  }

  /** Reads the file now, as SIGHUP demands; the events tell what came of it, and problems are told again. */
  reload(): void {
    if (!this.#isValid) this.#lastText = undefined;
    this.#look();
  }

  /** Looks again and again until `stop`; does not keep the process alive. */
  watch(intervalMs = 500): void {
    this.stop();
    this.#timer = setInterval(() => this.#look(), intervalMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    const text = readTextFile(this.#path, "write a policy file there; the last valid policy stays in force");
    const state = typeof text === "string" ? text : text.message;
    if (state === this.#lastText) return;
    this.#lastText = state;
    const result: PolicyResult =
      typeof text === "string" ? parsePolicy(text, this.#path) : { ok: false, problems: [text] };
    this.#isValid = result.ok;
    if (result.ok) {
      this.#current = result.policy;
      this.#events.onPolicy(result.policy);
    } else this.#events.onProblems(result.problems);
  }
}
