/** Finds and loads the native addon: from its file, or from bytes that a single binary carries. Source: addon/netlink.c. */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** A poller of the addon; opaque. */
export type NativePoller = object;

/** The addon's functions. Results are numbers: a value, or a negative errno. */
export interface Addon {
  openNetns(path: string): number;
  openSocket(netns: number, domain: number, type: number, protocol: number): number;
  openFile(netns: number, path: string, flags: number): number;
  openXdp(netns: number, interfaceIndex: number, queue: number): number;
  closeFd(fd: number): number;
  lockFile(fd: number): number;
  setOption(fd: number, level: number, name: number, value: number): number;
  getOption(fd: number, level: number, name: number, into: Uint8Array): number;
  receive(fd: number, buffer: Uint8Array, slotBytes: number, lengths: Int32Array): number;
  send(fd: number, buffer: Uint8Array, offset: number, length: number): number;
  sendBatch(fd: number, buffer: Uint8Array, ranges: Uint32Array, address: Uint8Array, scope: number): number;
  waitReadable(fd: number, timeoutMs: number): number;
  createPoller(onReady: (count: number) => void, ready: Uint32Array): NativePoller | number;
  pollerAdd(poller: NativePoller, fd: number, token: number): number;
  pollerRemove(poller: NativePoller, fd: number): number;
  pollerRef(poller: NativePoller, keepsLoopAlive: 0 | 1): number;
  pollerNext(poller: NativePoller, ready: Uint32Array): number;
  pollerClose(poller: NativePoller): number;
  releaseUnusedMemory(): number;
}

const relativePaths = ["./prebuilds/linux-x64/netlink.node", "../prebuilds/linux-x64/netlink.node"];
/** O_TMPFILE | O_RDWR (asm-generic/fcntl.h): a file without a name, gone when its last descriptor is closed. */
const tmpfileFlags = 0o20000000 | constants.O_DIRECTORY | constants.O_RDWR;

let addonBytes: Uint8Array | undefined;
let loaded: Addon | undefined;

/** For single binaries: the addon's bytes, used in place of its file. Call it, in each thread, before anything else here. */
export function setAddonBytes(bytes: Uint8Array): void {
  addonBytes = bytes;
}

/** The addon of this thread, loaded at the first call. Throws an Error that lists what was tried. */
export function addon(): Addon {
  loaded ??= addonBytes === undefined ? loadAddonFromFile() : loadAddonFromBytes(addonBytes);
  return loaded;
}

const memoryFolders = ["/run", "/dev/shm", "/tmp", "/var/tmp", "."];

/** Loads the addon from the first of `folders` that can hold an unnamed file and isn't mounted noexec. */
export function loadAddonFromBytes(bytes: Uint8Array, folders: readonly string[] = memoryFolders): Addon {
  return loadNativeFromBytes(bytes, "/proc/self/fd", folders) as Addon;
}

/**
 * The same for any native module. `descriptors` is the folder of /proc that it is loaded by, another for each module: the dynamic linker
 * takes a path that it has seen for the same file.
 */
export function loadNativeFromBytes(
  bytes: Uint8Array,
  descriptors: "/proc/self/fd" | "/proc/thread-self/fd",
  folders: readonly string[] = memoryFolders,
): unknown {
  const failures: string[] = [];
  for (const folder of folders) {
    try {
      return loadThrough(folder, bytes, descriptors);
    } catch (error) {
      failures.push(`${folder}: ${reason(error)}`);
    }
  }
  throw new Error(`native code can't be loaded from memory (${failures.join("; ")})`);
}

function loadThrough(folder: string, bytes: Uint8Array, descriptors: string): unknown {
  const fd = openSync(folder, tmpfileFlags, 0o700);
  try {
    for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
    return openNative(`${descriptors}/${fd}`);
  } finally {
    closeSync(fd);
  }
}

function loadAddonFromFile(): Addon {
  const failures: string[] = [];
  for (const path of relativePaths) {
    try {
      return openNative(fileURLToPath(new URL(path, import.meta.url))) as Addon;
    } catch (error) {
      failures.push(reason(error));
    }
  }
  throw new Error(`the netlink addon isn't built or doesn't fit this platform (${failures.join("; ")})`);
}

/** Loads a native module from its file: its exports. Throws an Error. */
export function openNative(path: string): unknown {
  const module: { exports: unknown } = { exports: {} };
  process.dlopen(module, path);
  return module.exports;
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
