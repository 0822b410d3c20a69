/** Owns the control socket's place in the file system: who may reach it, and whether its name is free. */
import {
  chmodSync,
  closeSync,
  constants,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  unlinkSync,
  writeSync,
  type Stats,
} from "node:fs";
import { connect, type Server } from "node:net";
import { dirname, resolve } from "node:path";
import { errorText, OperationError } from "../operation-error.ts";

/** A Unix socket's path, by sockaddr_un. */
const PATH_MAXIMUM_BYTES = 107;
const PROBE_TIMEOUT_MS = 1000;

/** Locks an open file against every other opening, until its descriptor is closed or the process ends; false: another has it. */
export type TryLock = (fd: number) => boolean;

/**
 * Takes the place at `path` for this process: of several that start at once over the socket file of a dead one, one gets
 * it. The lock file then names its `registry` folder, for the plugin to look into when nobody listens. Gives what lets go of
 * the place again. Throws `OperationError` if another process has it, or the folder is open to others.
 */
export function takePlace(path: string, tryLock: TryLock, registry: string): () => void {
  prepareFolder(dirname(path));
  const file = `${path}.lock`;
  const fd = openLock(file);
  const letGo = (): void => closeSync(fd);
  try {
    if (!tryLock(fd)) throw taken(path);
    ftruncateSync(fd);
    writeSync(fd, `${resolve(registry)}\n`);
    return letGo;
  } catch (error) {
    letGo();
    if (error instanceof OperationError) throw error;
    throw failure(`cannot lock ${file}: ${errorText(error)}`, error);
  }
}

/** The file stays for ever: whoever removed it would let two others lock two files of this name. */
function openLock(file: string): number {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  try {
    return openSync(file, flags, 0o600);
  } catch (error) {
    throw failure(`cannot use ${file}: ${errorText(error)}`, error);
  }
}

/**
 * Makes `server` listen at `path`: folder 0700 (made where it is missing), socket 0600. A socket file that nobody
 * listens at is replaced. Rejects with `OperationError` if somebody does, or the folder is open to others.
 */
export async function listenAt(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > PATH_MAXIMUM_BYTES) {
    throw failure(`${path} is longer than ${PATH_MAXIMUM_BYTES} bytes, the most a Unix socket can have`);
  }
  prepareFolder(dirname(path));
  await removeStale(path);
  await listen(server, path);
}

function prepareFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const stat = lstatSync(folder);
    if (!stat.isDirectory()) throw failure(`${folder} is not a folder (links are refused)`);
    if (stat.uid !== process.getuid?.()) throw failure(`folder ${folder} belongs to user ${stat.uid}`);
    if ((stat.mode & 0o077) !== 0)
      throw failure(`folder ${folder} is open to others: the plugin only trusts one of mode 0700`);
  } catch (error) {
    if (error instanceof OperationError) throw error;
    throw failure(`cannot use folder ${folder}: ${errorText(error)}`, error);
  }
}

async function removeStale(path: string): Promise<void> {
  const stat = statOf(path);
  if (stat === undefined) return;
  if (!stat.isSocket()) throw failure(`${path} exists and is not a socket`);
  if (await isListening(path)) throw taken(path);
  unlinkSync(path);
}

function statOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const settle = (answer: boolean): void => {
      probe.destroy();
      resolve(answer);
    };
    probe.setTimeout(PROBE_TIMEOUT_MS, () => settle(true));
    probe.once("connect", () => settle(true));
    // Anything but a refusal (a full backlog, say) means that somebody is there.
    probe.once("error", (error: NodeJS.ErrnoException) => settle(error.code !== "ECONNREFUSED"));
  });
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (error: Error): void =>
      reject(failure(`cannot listen at ${path}: ${error.message}`, error));
    server.once("error", refuse);
    // The socket is bound within listen(), so it never exists with another mode.
    const before = process.umask(0o177);
    try {
      server.listen({ path, backlog: 511 }, () => {
        server.removeListener("error", refuse);
        resolve();
      });
    } finally {
      process.umask(before);
    }
    if (statOf(path) !== undefined) chmodSync(path, 0o600);
  });
}

function taken(path: string): OperationError {
  return failure(`another enforcer has ${path}; stop it, or give this one another --socket`);
}

function failure(message: string, cause?: unknown): OperationError {
  return new OperationError("io", "listen at control socket", message, cause);
}
