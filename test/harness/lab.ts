/**
 * A laboratory: network namespaces, links, files and background processes of one test (or of the demo), all of which
 * disappear with it: at the end, on failure, and when the process that made it is interrupted.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { BackgroundProcess, run, runOk, sleep, type CommandOptions, type CommandResult } from "./command.ts";

const NETNS_FOLDER = "/run/netns";
const PREFIX = "trlab";
const open = new Set<Lab>();
let count = 0;

/** Path of a namespace made by `ip netns add`; a path stays what it is. */
export function namespacePath(namespace: string): string {
  return resolve(NETNS_FOLDER, namespace);
}

/** The command that runs `argv` inside a namespace (`undefined`: where we are). */
function inside(namespace: string | undefined, argv: readonly string[]): string[] {
  return namespace === undefined
    ? [...argv]
    : ["/usr/bin/nsenter", `--net=${namespacePath(namespace)}`, "--", ...argv];
}

/** Runs `argv` in a namespace; a status other than 0 is a result, not an error. */
export function exec(
  namespace: string | undefined,
  argv: readonly string[],
  options?: CommandOptions,
): Promise<CommandResult> {
  return run(inside(namespace, argv), options);
}

/** Runs `argv` in a namespace, throws when it fails, and gives its stdout. */
export function execOk(
  namespace: string | undefined,
  argv: readonly string[],
  options?: CommandOptions,
): Promise<string> {
  return runOk(inside(namespace, argv), options);
}

export class Lab {
  /** Unique on this machine: prefix, process id, serial number. */
  readonly id: string;
  /** A folder of this lab's own (0700), for sockets, state, keys and configuration. */
  readonly folder: string;
  readonly #namespaces = new Set<string>();
  readonly #processes = new Set<BackgroundProcess>();
  readonly #undo: (() => void | Promise<void>)[] = [];
  #closing: Promise<void> | undefined;

  constructor() {
    this.id = `${PREFIX}${process.pid}x${count++}`;
    this.folder = mkdtempSync(join(tmpdir(), `${this.id}-`));
    if (open.size === 0) watchForTheEnd();
    open.add(this);
  }

  /** Registers what `close` has to do, last registered first, before processes and namespaces go. */
  defer(undo: () => void | Promise<void>): void {
    this.#undo.push(undo);
  }

  /** Makes a network namespace with `lo` up and without duplicate address detection, and gives its full name (it is unique on the machine). */
  async addNamespace(name: string): Promise<string> {
    if (this.#closing !== undefined) throw new Error(`${this.id} is being closed`);
    const namespace = `${this.id}-${name}`;
    this.#namespaces.add(namespace);
    await runOk(["ip", "netns", "add", namespace]);
    await runOk(["ip", "-n", namespace, "link", "set", "lo", "up"]);
    // No duplicate address detection: ptp waits for it, about 1.5 s a pod.
    await execOk(namespace, ["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"]);
    return namespace;
  }

  /** Removes a namespace before the lab's end (also one whose name somebody else unmounted). */
  async removeNamespace(namespace: string): Promise<void> {
    this.#namespaces.delete(namespace);
    if (existsSync(namespacePath(namespace))) await runOk(["ip", "netns", "del", namespace]);
  }

  /** Joins two namespaces by a veth pair that is up at both ends. Interface names have at most 15 characters. */
  async addVeth(
    left: { namespace: string; name: string },
    right: { namespace: string; name: string },
  ): Promise<void> {
    const pair = ["type", "veth", "peer", "name", right.name, "netns", right.namespace];
    await runOk(["ip", "-n", left.namespace, "link", "add", left.name, ...pair]);
    await runOk(["ip", "-n", left.namespace, "link", "set", left.name, "up"]);
    await runOk(["ip", "-n", right.namespace, "link", "set", right.name, "up"]);
  }

  /** Starts a program, in a namespace where one is given, that ends with the lab at the latest. */
  start(
    namespace: string | undefined,
    argv: readonly string[],
    options: Pick<CommandOptions, "env" | "cwd"> = {},
  ): BackgroundProcess {
    const process = new BackgroundProcess(inside(namespace, argv), options);
    this.#processes.add(process);
    void process.exited.then(() => this.#processes.delete(process));
    return process;
  }

  /** Ends everything, whatever fails on the way, and then throws the first failure. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const failures: unknown[] = [];
    const attempt = async (step: () => unknown) => {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    };
    for (const undo of this.#undo.reverse()) await attempt(undo);
    this.#undo.length = 0;
    await Promise.all([...this.#processes].map((process) => attempt(() => process.stop())));
    for (const namespace of [...this.#namespaces]) await attempt(() => this.removeNamespace(namespace));
    rmSync(this.folder, { recursive: true, force: true });
    open.delete(this);
    if (open.size === 0) forgetTheEnd();
    if (failures.length > 0)
      throw failures[0] instanceof Error ? failures[0] : new Error(String(failures[0]));
  }

  /** What is left to do when the process exits with the lab open: synchronous, and without a word. */
  closeNow(): void {
    for (const process of this.#processes) process.child.kill("SIGKILL");
    // A namespace may still be in the making: once more, a moment later.
    for (const pauseMs of [0, 150]) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
      const ours = namesIn(NETNS_FOLDER).filter((name) => name.startsWith(`${this.id}-`));
      for (const namespace of ours) spawnSync("ip", ["netns", "del", namespace]);
    }
    rmSync(this.folder, { recursive: true, force: true });
    open.delete(this);
  }
}

function closeAllNow(): void {
  for (const lab of open) lab.closeNow();
}

/** A signal closes the labs in order; whoever wants it faster has a handler that exits. */
function closeAllAndExit(): void {
  const labs = [...open];
  const closing = Promise.allSettled(labs.map((lab) => lab.close()));
  void Promise.race([closing, sleep(10_000)]).finally(() => {
    for (const lab of labs) lab.closeNow();
    process.exit(130);
  });
}

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

function watchForTheEnd(): void {
  process.once("exit", closeAllNow);
  for (const signal of signals) process.once(signal, closeAllAndExit);
}

function forgetTheEnd(): void {
  process.removeListener("exit", closeAllNow);
  for (const signal of signals) process.removeListener(signal, closeAllAndExit);
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** Runs `body` with a lab that is closed afterwards, also when `body` throws. */
export async function withLab<T>(body: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = new Lab();
  try {
    return await body(lab);
  } finally {
    await lab.close();
  }
}

/** Removes namespaces and folders of labs whose process was killed before it could. */
export function sweepDeadLabs(): void {
  const dead = (name: string): boolean => {
    const pid = new RegExp(`^${PREFIX}(\\d+)x`).exec(name)?.[1];
    return pid !== undefined && !existsSync(`/proc/${pid}`);
  };
  for (const name of namesIn(NETNS_FOLDER).filter(dead)) spawnSync("ip", ["netns", "del", name]);
  for (const name of namesIn(tmpdir()).filter(dead))
    rmSync(join(tmpdir(), name), { recursive: true, force: true });
}
