/** Owns the datapath worker as the main thread sees it: its thread, and requests that have an answer. */
import { setFlagsFromString } from "node:v8";
import { Worker } from "node:worker_threads";
import type { FromWorker, PuDescription, ToWorker } from "../datapath/messages.ts";
import { OperationError } from "../operation-error.ts";

type Configure = Omit<Extract<ToWorker, { kind: "configure" }>, "kind">;
export type WorkerReport = Extract<FromWorker, { kind: "report" }>;

export interface WorkerEvents {
  readonly onReport: (report: WorkerReport) => void;
  readonly onPolicyApplied: (generation: number) => void;
  /** The thread ended without being told to: nothing is judged any more. */
  readonly onDeath: (problem: string) => void;
}

/** The part of a worker that this file uses; tests give another one. */
export type WorkerThread = Pick<Worker, "postMessage" | "on" | "terminate">;

const ANSWER_TIMEOUT_MS = 5000;
const STOP_TIMEOUT_MS = 1500;

interface Waiting {
  readonly settle: (problem: OperationError | undefined) => void;
  readonly timer: NodeJS.Timeout;
}

/** What the worker makes for a connection dies young: a small space stays in the processor's cache, and in memory. */
const YOUNG_GENERATION_MB = 3;

/**
 * How much bytecode the optimising compiler may put into one function: about what a packet takes. At one connection at a time, nothing of
 * it is in the processor's cache when the next packet comes, and a few long functions are fetched faster than many short ones.
 */
const INLINED_BYTECODE = 2_500;

/** Starts the thread: from its source file, or, in a single binary, from the code that the build put in place of its URL. */
export function startWorker(): WorkerThread {
  setFlagsFromString(`--max-inlined-bytecode-size-cumulative=${INLINED_BYTECODE}`);
  return new Worker(new URL("../datapath/worker.ts", import.meta.url), {
    name: "datapath",
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  });
}

export class WorkerLink {
  readonly #thread: WorkerThread;
  readonly #events: WorkerEvents;
  /** By what they wait for: `configured`, `attach ID`, `detach ID`, `stopped`. */
  readonly #waiting = new Map<string, Waiting>();
  #isStopping = false;

  constructor(thread: WorkerThread, events: WorkerEvents) {
    this.#thread = thread;
    this.#events = events;
    thread.on("message", (message: FromWorker) => this.#take(message));
    thread.on("error", (error) =>
      this.#died(error instanceof Error ? (error.stack ?? error.message) : String(error)),
    );
    thread.on("exit", (code) => this.#died(`exit code ${code}`));
  }

  /** Rejects with `OperationError` if the worker doesn't answer. */
  configure(settings: Configure): Promise<void> {
    return this.#ask("configured", { kind: "configure", ...settings });
  }

  /** The PU refuses every handshake until its first token is told. Rejects with `OperationError` if the queues can't be opened; nothing is left then. */
  attach(pu: PuDescription): Promise<void> {
    return this.#ask(`attach ${pu.id}`, { kind: "attach", pu });
  }

  detach(puId: string): Promise<void> {
    return this.#ask(`detach ${puId}`, { kind: "detach", puId });
  }

  /** What has no answer, or one that nobody waits for. A policy's slices go along: they are empty here afterwards. */
  tell(message: Extract<ToWorker, { kind: "trust" | "policy" | "token" }>): void {
    if (this.#isStopping) return;
    const moved = message.kind === "policy" ? message.policy.slices.map(({ buffer }) => buffer) : [];
    this.#thread.postMessage(message, moved);
  }

  /** Closes every queue and ends the thread. Never rejects. */
  async stop(): Promise<void> {
    if (this.#isStopping) return;
    const stopped = this.#ask("stopped", { kind: "stop" }, STOP_TIMEOUT_MS);
    this.#isStopping = true;
    await stopped.catch(() => undefined);
    await this.#thread.terminate();
    this.#failAll("the datapath worker has stopped");
  }

  #ask(what: string, message: ToWorker, timeoutMs = ANSWER_TIMEOUT_MS): Promise<void> {
    if (this.#isStopping)
      return Promise.reject(failure("unreachable", what, "the datapath worker has stopped"));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#settle(what, failure("timeout", what, `the datapath worker gave no answer to: ${what}`)),
        timeoutMs,
      );
      const settle: Waiting["settle"] = (problem) => (problem === undefined ? resolve() : reject(problem));
      this.#waiting.set(what, { settle, timer });
      this.#thread.postMessage(message);
    });
  }

  #settle(what: string, problem: OperationError | undefined): void {
    const waiting = this.#waiting.get(what);
    if (waiting === undefined) return;
    this.#waiting.delete(what);
    clearTimeout(waiting.timer);
    waiting.settle(problem);
  }

  #take(message: FromWorker): void {
    switch (message.kind) {
      case "report":
        this.#events.onReport(message);
        return;
      case "policyApplied":
        this.#events.onPolicyApplied(message.generation);
        return;
      case "attached":
        this.#settle(`attach ${message.puId}`, undefined);
        return;
      case "attachFailed": {
        const what = `attach ${message.puId}`;
        this.#settle(what, failure("io", what, `the PU's queues cannot be opened: ${message.message}`));
        return;
      }
      case "detached":
        this.#settle(`detach ${message.puId}`, undefined);
        return;
      case "configured":
      case "stopped":
        this.#settle(message.kind, undefined);
    }
  }

  #died(problem: string): void {
    this.#failAll(`the datapath worker died: ${problem}`);
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#events.onDeath(problem);
  }

  #failAll(problem: string): void {
    for (const what of [...this.#waiting.keys()]) this.#settle(what, failure("unreachable", what, problem));
  }
}

function failure(code: "io" | "timeout" | "unreachable", operation: string, message: string): OperationError {
  return new OperationError(code, operation, message);
}
