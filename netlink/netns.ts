/** Network namespaces as file descriptors, and who is at the other end of a Unix socket. Source: namespaces(7), socket(7), unix(7). */
import { constants, fstatSync, readFileSync, writeSync } from "node:fs";
import { addon } from "./addon.ts";
import { checked } from "./error.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_NETNS_COOKIE = 71;

/**
 * Opens a network namespace by path (/run/netns/NAME, /proc/PID/ns/net). The caller owns the descriptor (`closeFd`); it
 * keeps the namespace alive. Never waits, whatever the path names; NetlinkError EINVAL if that is no network namespace.
 */
export function openNetns(path: string): number {
  return checked(`open network namespace ${path}`, addon().openNetns(path));
}

/** Closes a descriptor, in the thread that opened it. What a worker leaves open is closed when it ends. */
export function closeFd(fd: number): void {
  checked(`close descriptor ${fd}`, addon().closeFd(fd));
}

/** Reads a file of /proc/thread-self/net or /proc/sys/net as a process inside the namespace would. */
export function readFileInNetns(netns: number, path: string): string {
  const fd = checked(`open ${path}`, addon().openFile(netns, path, constants.O_RDONLY));
  try {
    return readFileSync(fd, "latin1");
  } finally {
    closeFd(fd);
  }
}

/** Writes a sysctl below /proc/sys/net as a process inside the namespace would; one write, as sysctls want it. */
export function writeFileInNetns(netns: number, path: string, text: string): void {
  const fd = checked(`open ${path}`, addon().openFile(netns, path, constants.O_WRONLY));
  try {
    writeSync(fd, text);
  } finally {
    closeFd(fd);
  }
}

/** The namespace's number, never used again while the machine is up (an inode number is). Linux 5.14 or newer. */
export function netnsCookie(netns: number): bigint {
  const native = addon();
  const fd = checked("open a socket in the namespace", native.openSocket(netns, AF_NETLINK, SOCK_RAW, 0));
  try {
    return readOption(fd, SO_NETNS_COOKIE, 8, "SO_NETNS_COOKIE").getBigUint64(0, true);
  } finally {
    closeFd(fd);
  }
}

/** Whether two namespace descriptors, both open, are the same namespace. */
export function sameNetns(a: number, b: number): boolean {
  const [one, other] = [fstatSync(a, { bigint: true }), fstatSync(b, { bigint: true })];
  return one.ino === other.ino && one.dev === other.dev;
}

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Who connected the Unix socket `fd`, as the kernel knew it then. */
export function getPeerCredentials(fd: number): PeerCredentials {
  const view = readOption(fd, SO_PEERCRED, 12, "SO_PEERCRED");
  return { pid: view.getInt32(0, true), uid: view.getUint32(4, true), gid: view.getUint32(8, true) };
}

function readOption(fd: number, name: number, bytes: number, label: string): DataView {
  const into = new Uint8Array(bytes);
  checked(`read ${label}`, addon().getOption(fd, SOL_SOCKET, name, into));
  return new DataView(into.buffer);
}
