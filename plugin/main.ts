/** The CNI binary: ties the plugin to this process. Bundled to CommonJS, so it has no top-level await. */
import { fstatSync, readFileSync, writeSync } from "node:fs";
import { connectControl } from "./control-client.ts";
import { asCniError, formatError } from "./cni-error.ts";
import { isOwnNamespace, openPodNamespace } from "./pod-namespace.ts";
import { run } from "./run.ts";
import { currentVersion } from "./versions.ts";
import { pluginVersion } from "./version.ts";

const stdinFd = 0;
const stdoutFd = 1;

/** Node opens /dev/null for reading and writing in place of a closed descriptor; nobody else gives us that as configuration. */
function isStdinClosed(): boolean {
  const nullDevice = 0x0103;
  const stats = fstatSync(stdinFd);
  if (!stats.isCharacterDevice() || stats.rdev !== nullDevice) return false;
  const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${stdinFd}`, "utf8"))?.[1] ?? "0";
  const accessMode = Number.parseInt(flags, 8) & 3;
  return accessMode === 2;
}

/** A directory would come as an empty stream. */
async function* readStdin(): AsyncIterable<Uint8Array> {
  if (isStdinClosed()) throw Object.assign(new Error("standard input is closed"), { code: "EBADF" });
  if (fstatSync(stdinFd).isDirectory()) throw Object.assign(new Error("a directory"), { code: "EISDIR" });
  yield* process.stdin as AsyncIterable<Uint8Array>;
}

/** All bytes are out when this returns: an exit right after cuts nothing, however small the pipe. */
function writeStdout(text: string): void {
  const bytes = Buffer.from(text);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let written = 0; written < bytes.length;) {
    try {
      written += writeSync(stdoutFd, bytes, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      Atomics.wait(pause, 0, 0, 1);
    }
  }
}

/** A defect outside of any call, such as a listener that throws: still an error object, still exit code 1. */
function dieOf(thrown: unknown): never {
  try {
    writeStdout(formatError(asCniError(thrown), currentVersion, process.env["CNI_COMMAND"] ?? ""));
  } finally {
    process.exit(1);
  }
}

process.on("uncaughtException", dieOf);
process.on("unhandledRejection", dieOf);

/** What the launcher (launcher/launcher.c) waited for in vain before it left the call to us. */
const earlierMs = Number(process.env["TRIREME_CNI_ELAPSED_MS"]) || 0;

void run(
  {
    arguments: process.argv.slice(2),
    env: process.env,
    stdin: readStdin,
    writeStdout,
    uptimeMs: () => earlierMs + performance.now(),
  },
  {
    connect: connectControl,
    openNamespace: openPodNamespace,
    isOwnNamespace,
    now: () => new Date(),
    pluginVersion,
  },
).then((exitCode) => process.exit(exitCode));
