/** The benchmark's C programs: compiled from their sources beside this file, and the load generator's calls and answers. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../harness/binaries.ts";
import { runOk } from "../harness/command.ts";
import type { BackgroundProcess } from "../harness/command.ts";
import { namespacePath, type Lab } from "../harness/lab.ts";

const folder = join(repository, "build/bench");
const loadBinary = join(folder, "load");
const readerBinary = join(folder, "accept-all");

/** The first port that load servers listen on, and how many: enough that no client's port is used twice within TIME_WAIT. */
export const firstPort = 20_000;
const portCount = 32;

/** Compiles what is measured and what measures; warnings are errors. */
export async function compilePrograms(): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const name of ["load", "accept-all"]) {
    const source = join(import.meta.dirname, `${name}.c`);
    await runOk(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", join(folder, name), source]);
  }
}

/** 50th and 99th percentile, in µs. */
export interface Times {
  readonly p50: number;
  readonly p99: number;
}

/** What `load client` prints. Times are those of connections whose byte came back. */
export interface LoadResult {
  readonly begun: number;
  readonly done: number;
  readonly timedOut: number;
  readonly refused: number;
  readonly broken: number;
  readonly seconds: number;
  /** From connect() to an established connection. */
  readonly connectUs: Times;
  /** From connect() until the byte that was sent is back. */
  readonly exchangeUs: Times;
}

export interface LoadOptions {
  readonly concurrency: number;
  /** Whichever comes first ends the load. */
  readonly count: number;
  readonly seconds: number;
  readonly timeoutMs?: number;
  readonly ports?: number;
  readonly firstPort?: number;
}

/** Connects from a namespace to the addresses and ports in turn. */
export async function runLoad(
  namespace: string,
  addresses: readonly string[],
  options: LoadOptions,
): Promise<LoadResult> {
  const { concurrency, count, seconds, timeoutMs = 5_000, ports = portCount } = options;
  const numbers = [concurrency, count, seconds, timeoutMs, options.firstPort ?? firstPort, ports].map(String);
  const argv = [loadBinary, "client", namespacePath(namespace), ...numbers, ...addresses];
  return JSON.parse(await runOk(argv, { timeoutMs: seconds * 1_000 + timeoutMs + 60_000 })) as LoadResult;
}

/** Starts one echo server that listens in all the namespaces, and waits until it does. */
export async function startLoadServer(
  lab: Lab,
  namespaces: readonly string[],
  ports = portCount,
  first = firstPort,
): Promise<BackgroundProcess> {
  const paths = namespaces.map(namespacePath);
  const server = lab.start(undefined, [loadBinary, "server", String(first), String(ports), ...paths]);
  await server.waitForOutput(/^listening$/m);
  return server;
}

/** Opens one connection and sends a byte there and back every 10 ms, for `seconds`. */
export async function startHolding(
  lab: Lab,
  namespace: string,
  address: string,
  seconds: number,
): Promise<BackgroundProcess> {
  const argv = [loadBinary, "hold", namespacePath(namespace), String(seconds), String(firstPort), address];
  const holder = lab.start(undefined, argv);
  await holder.waitForOutput(/^connected$/m);
  return holder;
}

/** Starts the C reader on the queues of these namespaces, as one process. */
export async function startReader(lab: Lab, namespaces: readonly string[]): Promise<BackgroundProcess> {
  const reader = lab.start(undefined, [readerBinary, ...namespaces.map(namespacePath)]);
  await reader.waitForOutput(/^ready$/m);
  return reader;
}
