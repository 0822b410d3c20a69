/** Running other programs: to their end with captured output, or in the background until told to stop. */
import { spawn, type ChildProcess } from "node:child_process";

export interface CommandResult {
  /** Exit status; -1 when a signal ended it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly input?: string | Buffer;
  /** The whole environment; the caller's own where absent. */
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly timeoutMs?: number;
  /** Called with each piece of stdout and stderr as it comes. */
  readonly onOutput?: (piece: string) => void;
}

const DEFAULT_TIMEOUT_MS = 60_000;

function split(argv: readonly string[]): [string, string[]] {
  const [program, ...parameters] = argv;
  if (program === undefined) throw new Error("an empty command");
  return [program, parameters];
}

/** Runs a program to its end; a status other than 0 is a result, not an error. SIGKILL after `timeoutMs` (status -1). */
export async function run(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [program, parameters] = split(argv);
  const child = spawn(program, parameters, { env: options.env, cwd: options.cwd, stdio: "pipe" });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  const collect = (into: Buffer[]) => (piece: Buffer) => {
    into.push(piece);
    options.onOutput?.(piece.toString());
  };
  child.stdout.on("data", collect(stdout));
  child.stderr.on("data", collect(stderr));
  child.stdin.on("error", () => undefined); // A program need not read its input.
  child.stdin.end(options.input);
  const timer = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  const status = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      resolve(code ?? -1);
    });
  }).finally(() => {
    clearTimeout(timer);
  });
  return { status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
}

/** Runs a program that must succeed, and gives its stdout; throws with command, status and what it printed otherwise. */
export async function runOk(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await run(argv, options);
  if (result.status === 0) return result.stdout;
  throw new Error(
    `${argv.join(" ")}: exit status ${result.status}\n${result.stdout.slice(-4000)}${result.stderr.slice(-4000)}`,
  );
}

/** Polls until `probe` gives something other than undefined or false; throws, naming `what`, after `timeoutMs`. */
export async function waitFor<T>(
  what: string,
  probe: () => T | Promise<T>,
  timeoutMs = 10_000,
  pauseMs = 20,
): Promise<NonNullable<Exclude<T, false>>> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined && found !== null && found !== false) {
      return found as NonNullable<Exclude<T, false>>;
    }
    if (performance.now() > endMs) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    await sleep(pauseMs);
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A program in the background. Its output is kept (the last 256 KiB of each stream). */
export class BackgroundProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<number>;
  #stdout = "";
  #stderr = "";
  #ended = false;

  constructor(argv: readonly string[], options: Pick<CommandOptions, "env" | "cwd"> = {}) {
    const [program, parameters] = split(argv);
    this.child = spawn(program, parameters, { ...options, stdio: ["pipe", "pipe", "pipe"] });
    this.child.stdout?.on("data", (piece: Buffer) => {
      this.#stdout = (this.#stdout + piece.toString()).slice(-262_144);
    });
    this.child.stderr?.on("data", (piece: Buffer) => {
      this.#stderr = (this.#stderr + piece.toString()).slice(-262_144);
    });
    this.child.stdin?.on("error", () => undefined);
    this.exited = new Promise((resolve) => {
      this.child.once("error", (error) => {
        this.#stderr += String(error);
        this.#ended = true;
        resolve(-1);
      });
      this.child.once("close", (code) => {
        this.#ended = true;
        resolve(code ?? -1);
      });
    });
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  get ended(): boolean {
    return this.#ended;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Waits for a text in stdout or stderr (`pattern` may capture); throws when the program ends or `timeoutMs` passes first. */
  async waitForOutput(pattern: RegExp, timeoutMs = 10_000): Promise<RegExpExecArray> {
    return waitFor(
      `${String(pattern)} from ${this.child.spawnargs.join(" ")}`,
      () => {
        const match = pattern.exec(this.#stdout) ?? pattern.exec(this.#stderr);
        if (match === null && this.#ended) {
          throw new Error(`${this.child.spawnargs.join(" ")} ended early: ${this.#stdout}${this.#stderr}`);
        }
        return match ?? undefined;
      },
      timeoutMs,
    );
  }

  /** Sends SIGTERM, and SIGKILL after `graceMs`; gives the exit status (-1: by signal). */
  async stop(graceMs = 5_000): Promise<number> {
    if (this.#ended) return this.exited;
    this.child.kill("SIGTERM");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), graceMs);
    return this.exited.finally(() => {
      clearTimeout(timer);
    });
  }

  /** SIGKILL at once. */
  async kill(): Promise<number> {
    if (!this.#ended) this.child.kill("SIGKILL");
    return this.exited;
  }
}
