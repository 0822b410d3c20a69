/**
 * Owns where the plugin's log goes: to the enforcer, whose log the operator reads, and to a bounded file beside its socket
 * while it is away. Never stdout, which is the result's; never a reason for a verb to fail.
 */
import { appendFileSync, lstatSync, renameSync, constants, closeSync, openSync } from "node:fs";
import { dirname, join } from "node:path";
import { decodeAnswer, LIMITS } from "../enforcer/control/messages.ts";
import type { LogLevel } from "../enforcer/control/messages.ts";
import type { ConnectControl } from "./control-client.ts";
import type { Deadline } from "./deadline.ts";

export interface LogEntry {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: Readonly<Record<string, string | number | boolean>>;
}

export interface LogTarget {
  /** The enforcer's control socket. */
  readonly socket: string;
  readonly connect: ConnectControl;
  /** The verb's own end; an entry never waits longer than `deliveryMs` within it. */
  readonly deadline: Deadline;
  /** Wall clock, for the file's lines. */
  readonly now: () => Date;
}

const deliveryMs = 250;

/** Delivers one entry; what goes wrong on the way stays here. */
export async function deliver(entry: LogEntry, target: LogTarget): Promise<void> {
  const bounded = { ...entry, message: entry.message.slice(0, LIMITS.logMessageBytes / 4) };
  try {
    await sendToEnforcer(bounded, target);
  } catch {
    appendToFile(bounded, target);
  }
}

async function sendToEnforcer(entry: LogEntry, target: LogTarget): Promise<void> {
  const connection = await target.connect(target.socket, target.deadline.within(deliveryMs));
  try {
    await connection.request({ op: "log", ...entry }, decodeAnswer);
  } finally {
    connection.close();
  }
}

/** Two files of at most this many bytes and one line each: the current one and the one before. */
const fileBytes = 256 * 1024;

/** Beside the socket, where that directory is root's alone. */
function logFilePath(socket: string): string {
  return join(dirname(socket), "plugin.log");
}

function appendToFile(entry: LogEntry, target: LogTarget): void {
  const path = logFilePath(target.socket);
  try {
    if (!isRootsOwn(dirname(path))) return;
    rotate(path);
    append(path, `${JSON.stringify({ time: target.now().toISOString(), ...entry })}\n`);
  } catch {
    // No place for a log: a full or read-only file system fails no verb.
  }
}

function isRootsOwn(folder: string): boolean {
  const stats = lstatSync(folder);
  return stats.isDirectory() && stats.uid === 0 && (stats.mode & 0o077) === 0;
}

function rotate(path: string): void {
  const size = lstatSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > fileBytes) renameSync(path, `${path}.1`);
}

function append(path: string, line: string): void {
  const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW } = constants;
  const fd = openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
  try {
    appendFileSync(fd, line);
  } finally {
    closeSync(fd);
  }
}
