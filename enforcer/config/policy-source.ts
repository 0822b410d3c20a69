/** Owns the policy file on disk: reads it, watches it, and keeps the last valid one. A wrong file never replaces a right one. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { errorText } from "../operation-error.ts";
import { MAX_FILE_BYTES } from "../policy/document.ts";
import { emptyPolicy, type Policy } from "../policy/model.ts";
import { parsePolicy, type PolicyResult } from "../policy/parse.ts";
import type { Problem } from "../policy/problem.ts";

/** Reads and validates a policy file. Everything that is wrong, a missing file included, is a problem, never an exception. */
export function loadPolicy(path: string): PolicyResult {
  const text = readTextFile(path, "write a policy file there, or give its path as policy");
  return typeof text === "string" ? parsePolicy(text, path) : { ok: false, problems: [text] };
}

/** A regular file's text, at most one byte more than is allowed, so that its reader can say that it is too large. */
export function readTextFile(path: string, remedy: string): string | Problem {
  try {
    return readBounded(path);
  } catch (error) {
    return {
      file: path,
      line: 1,
      column: 1,
      subject: "",
      message: `the file cannot be read: ${errorText(error)}`,
      remedy,
    };
  }
}

function readBounded(path: string): string {
  const descriptor = openSync(path, "r");
  try {
    const status = fstatSync(descriptor);
    if (!status.isFile()) throw new Error("it is not a regular file");
    const buffer = Buffer.alloc(Math.min(status.size, MAX_FILE_BYTES) + 1);
    let length = 0;
    for (let count = 1; count > 0 && length < buffer.length; length += count) {
      count = readSync(descriptor, buffer, length, buffer.length - length, null);
    }
    return buffer.toString("utf8", 0, length);
  } finally {
    closeSync(descriptor);
  }
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
