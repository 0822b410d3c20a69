/**
 * Runs the plugin inside the enforcer, for a launcher that handed its call over: the same code with the same edges, warm. What the
 * launcher's process would see otherwise than this one is declined.
 */
import { statSync } from "node:fs";
import type { ConnectControl } from "../../plugin/control-client.ts";
import { isObject, member, parseJson } from "../../plugin/json.ts";
import { defaultSocket } from "../../plugin/network-config.ts";
import { isOwnNamespace, openPodNamespace } from "../../plugin/pod-namespace.ts";
import { run } from "../../plugin/run.ts";
import { pluginVersion } from "../../plugin/version.ts";
import { callForgetter } from "./memory.ts";
import type { FileIdentity, HandedCall, Outcome, PerformCall } from "../control/handover.ts";

/** Performs the calls that mean the enforcer whose control socket this is, which they reach by `connect`. */
export function performCalls(controlSocket: string, connect: ConnectControl): PerformCall {
  const forget = callForgetter();
  return async (call, gone) => {
    if (!isMeant(call, controlSocket) || !seesTheSame(call)) return "declined";
    const outcome = await perform(call, connectWhile(gone, connect));
    setImmediate(forget);
    return outcome;
  };
}

async function perform(call: HandedCall, connect: ConnectControl): Promise<Outcome> {
  const begunMs = performance.now() - call.elapsedMs;
  let stdout = "";
  const exitCode = await run(
    {
      arguments: [],
      env: call.environment,
      stdin: () => inputOf(call),
      writeStdout: (text) => void (stdout += text),
      uptimeMs: () => performance.now() - begunMs,
    },
    {
      connect,
      openNamespace: openPodNamespace,
      isOwnNamespace: (path) => isOwnNamespace(path) || isSame(identify(path), call.own),
      now: () => new Date(),
      pluginVersion,
    },
  );
  return { stdout, exitCode };
}

async function* inputOf({ input }: HandedCall): AsyncIterable<Uint8Array> {
  await Promise.resolve();
  yield input;
}

/** A launcher that was killed is a plugin that was killed: its connections to the enforcer end, and what is half done is undone. */
function connectWhile(gone: AbortSignal, connect: ConnectControl): ConnectControl {
  return async (path, deadline) => {
    const connection = await connect(path, deadline);
    const close = (): void => connection.close();
    if (gone.aborted) close();
    gone.addEventListener("abort", close, { once: true });
    return connection;
  };
}

/** What can't be parsed is the launcher's own to report. */
function isMeant({ input }: HandedCall, controlSocket: string): boolean {
  const parsed = parseJson(input.toString("utf8"));
  return (
    parsed.ok && isObject(parsed.value) && (member(parsed.value, "socket") ?? defaultSocket) === controlSocket
  );
}

/** A path means another file in another mount or process namespace, and /proc/self in any other process. */
function seesTheSame({ environment, named }: HandedCall): boolean {
  const path = environment["CNI_NETNS"];
  return isSame(path === undefined ? undefined : identify(path), named);
}

function isSame(one: FileIdentity | undefined, other: FileIdentity | undefined): boolean {
  return one?.device === other?.device && one?.inode === other?.inode;
}

/** Undefined where there is no such file. */
function identify(path: string): FileIdentity | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return { device: dev, inode: ino };
  } catch {
    return undefined;
  }
}
