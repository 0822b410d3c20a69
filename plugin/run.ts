/**
 * Owns a run of the plugin from its environment to its exit code. The process boundary comes in as a value.
 * Source: CNI SPEC 1.1.0, "Section 2" and "Error".
 */
import { add } from "./commands/add.ts";
import { check } from "./commands/check.ts";
import { del } from "./commands/del.ts";
import { gc } from "./commands/gc.ts";
import { status } from "./commands/status.ts";
import type { Call, Edges } from "./call.ts";
import { parseCniArgsLeniently, podReference } from "./cni-args.ts";
import { asCniError, CniError, failures, formatError } from "./cni-error.ts";
import { beforeDeadline, Deadline, verbDeadlinesMs } from "./deadline.ts";
import { readInvocation } from "./environment.ts";
import type { Environment, Invocation } from "./environment.ts";
import { deliver } from "./log.ts";
import type { LogEntry } from "./log.ts";
import {
  configuredVersion,
  decodeConfig,
  defaultSocket,
  maxConfigBytes,
  readOptions,
  readOptionsLeniently,
} from "./network-config.ts";
import type { NetworkConfig, Options } from "./network-config.ts";
import { currentVersion, isSupported, versionAnswer } from "./versions.ts";

/** The process, as far as the plugin touches it. */
export interface ProcessBoundary {
  readonly arguments: readonly string[];
  readonly env: Environment;
  /** Called at most once, and never for VERSION. */
  readonly stdin: () => AsyncIterable<Uint8Array>;
  /** Writes all of it before it returns. Throws what the system says, EPIPE included. */
  readonly writeStdout: (text: string) => void;
  /** Milliseconds since the start of the process. */
  readonly uptimeMs: () => number;
}

/** What is known of the call when it fails. */
interface Progress {
  invocation: Invocation | undefined;
  input: Buffer | undefined;
  network: string | undefined;
  socket: string;
  /** A DEL that ran out of time behind its configuration: no failure, or the runtime would repeat it for ever. */
  isLateDel: boolean;
  readonly entries: LogEntry[];
}

/** Runs to the end and gives the exit code. Never throws. */
export async function run(boundary: ProcessBoundary, edges: Edges): Promise<number> {
  const [flag] = boundary.arguments;
  if (flag === "--version" || flag === "--help")
    return print(boundary, flag === "--help" ? help(edges) : `${edges.pluginVersion}\n`, 0);
  const progress: Progress = {
    invocation: undefined,
    input: undefined,
    network: undefined,
    socket: defaultSocket,
    isLateDel: false,
    entries: [],
  };
  const [text, exitCode] = await settle(boundary, edges, progress);
  await deliverAll(boundary, edges, progress);
  return print(boundary, text, exitCode);
}

async function settle(
  boundary: ProcessBoundary,
  edges: Edges,
  progress: Progress,
): Promise<[string, number]> {
  try {
    const invocation = readInvocation(boundary.env);
    progress.invocation = invocation;
    if (invocation.verb === "VERSION") return [versionAnswer(), 0];
    const work = perform(invocation, boundary, edges, progress);
    const deadline = Deadline.ofVerb(invocation.verb, boundary.uptimeMs);
    return [await beforeDeadline(work, deadline, () => late(invocation, progress)), 0];
  } catch (thrown) {
    return progress.isLateDel ? ["", 0] : [fail(thrown, progress), 1];
  }
}

/** A DEL whose configuration was read has done what it could by now, and succeeds. */
function late({ verb }: Invocation, progress: Progress): CniError {
  const error = new CniError("tryLater", `${verb} did not end within ${verbDeadlinesMs[verb]} ms`);
  progress.isLateDel = verb === "DEL" && progress.network !== undefined;
  if (progress.isLateDel) progress.entries.push(failureEntry(error, error, progress));
  return error;
}

async function perform(
  invocation: Exclude<Invocation, { verb: "VERSION" }>,
  boundary: ProcessBoundary,
  edges: Edges,
  progress: Progress,
): Promise<string> {
  progress.input = await readInput(boundary);
  const config = decodeConfig(invocation.verb, progress.input);
  progress.network = config.network;
  const log = (entry: LogEntry): void => void progress.entries.push(entry);
  const options = optionsFor(invocation, config, log);
  progress.socket = options.socket;
  const deadline = Deadline.ofEnforcer(invocation.verb, options.timeoutMs, boundary.uptimeMs);
  return dispatch({ invocation, config, options, deadline, edges, log });
}

async function readInput(boundary: ProcessBoundary): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of boundary.stdin()) {
      bytes += chunk.length;
      if (bytes > maxConfigBytes) break;
      chunks.push(chunk);
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "error";
    throw new CniError("unreadableInput", `standard input can't be read (${code})`);
  }
  if (bytes <= maxConfigBytes) return Buffer.concat(chunks);
  throw new CniError("undecodableInput", `the network configuration is longer than ${maxConfigBytes} bytes`);
}

function optionsFor(invocation: Invocation, config: NetworkConfig, log: (entry: LogEntry) => void): Options {
  if (invocation.verb !== "DEL") return readOptions(config.fields);
  return readOptionsLeniently(config.fields, ({ message }) =>
    log({ level: "warn", message: "DEL goes on without an invalid option", fields: { reason: message } }),
  );
}

async function dispatch(call: Call): Promise<string> {
  const { invocation } = call;
  switch (invocation.verb) {
    case "ADD":
      return add({ ...call, invocation });
    case "CHECK":
      await check({ ...call, invocation });
      return "";
    case "DEL":
      await del({ ...call, invocation });
      return "";
    case "GC":
      await gc(call);
      return "";
    case "STATUS":
      await status(call);
      return "";
    case "VERSION":
      return versionAnswer();
  }
}

/** The error object; ADD, DEL and GC log it as well. STATUS and CHECK only ask, and leave no trace. */
function fail(thrown: unknown, progress: Progress): string {
  const error = asCniError(thrown);
  const verb = progress.invocation?.verb;
  if (verb === "ADD" || verb === "DEL" || verb === "GC")
    progress.entries.push(failureEntry(error, thrown, progress));
  return formatError(error, errorVersion(progress.input), subjectOf(progress));
}

function failureEntry(error: CniError, thrown: unknown, progress: Progress): LogEntry {
  const isDefect = error.code === failures.internal.code && thrown instanceof Error;
  const stack = isDefect ? { stack: (thrown.stack ?? "").slice(0, 1000) } : {};
  return {
    level: "error",
    message: `${subjectOf(progress)}: ${error.message}`,
    fields: { code: error.code, ...stack },
  };
}

function errorVersion(input: Buffer | undefined): string {
  const version = input === undefined || input.length > maxConfigBytes ? undefined : configuredVersion(input);
  return version !== undefined && isSupported(version) ? version : currentVersion;
}

/** `ADD of pod shop/web-1 (container 3f2a…, eth0, network pods)`, as far as it is known. */
function subjectOf({ invocation, network }: Progress): string {
  if (invocation === undefined) return "";
  if (!("containerId" in invocation))
    return network === undefined ? invocation.verb : `${invocation.verb} of network ${network}`;
  const pod = podReference(parseCniArgsLeniently(invocation.args));
  const name = pod === undefined ? "" : `pod ${pod.namespace}/${pod.name} `;
  const place = [
    `container ${invocation.containerId}`,
    invocation.ifname,
    ...(network === undefined ? [] : [`network ${network}`]),
  ];
  return `${invocation.verb} of ${name}(${place.join(", ")})`;
}

async function deliverAll(boundary: ProcessBoundary, edges: Edges, progress: Progress): Promise<void> {
  const verb = progress.invocation?.verb ?? "VERSION";
  const { socket, entries } = progress;
  const deadline = Deadline.ofVerb(verb, boundary.uptimeMs);
  for (const entry of entries)
    await deliver(entry, { socket, connect: edges.connect, deadline, now: edges.now });
}

/** A reader that is gone makes the verb a failure, silently: there is nobody left to tell. */
function print(boundary: ProcessBoundary, text: string, exitCode: number): number {
  try {
    if (text !== "") boundary.writeStdout(text);
    return exitCode;
  } catch {
    return 1;
  }
}

function help(edges: Edges): string {
  return `trireme-cni ${edges.pluginVersion}: a chained CNI plugin (CNI specification ${currentVersion}).

It is run by a container runtime, with CNI_COMMAND and other CNI_* variables in its environment and the network
configuration on standard input. Put it behind the plugin that makes the pod's interface:

  {"type": "trireme-cni", "capabilities": {"io.kubernetes.cri.pod-annotations": true}}

Options: socket (default ${defaultSocket}), timeoutMs, attributes.
`;
}
