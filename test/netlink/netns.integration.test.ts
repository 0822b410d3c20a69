/** Namespaces by descriptor: what is taken for one, what isn't, and that the thread always comes home. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  closeFd,
  getPeerCredentials,
  netnsCookie,
  openNetns,
  readFileInNetns,
  sameNetns,
  writeFileInNetns,
} from "../../netlink/netns.ts";
import { Route } from "../../netlink/route.ts";
import { TestNamespace } from "./namespaces.ts";

let one: TestNamespace;
let other: TestNamespace;
let folder: string;
beforeEach(() => {
  one = new TestNamespace();
  other = new TestNamespace();
  folder = mkdtempSync(joinPath(tmpdir(), "netlink-"));
});
afterEach(async () => {
  await one.remove();
  await other.remove();
  rmSync(folder, { recursive: true });
});

const own = (): string => readlinkSync("/proc/thread-self/ns/net");

test("a namespace is itself by every path, and no other", () => {
  const again = openNetns(one.path);
  expect([sameNetns(one.fd, again), sameNetns(one.fd, other.fd)]).toEqual([true, false]);
  expect(netnsCookie(again)).toBe(netnsCookie(one.fd));
  expect(netnsCookie(other.fd)).not.toBe(netnsCookie(one.fd));
  closeFd(again);
});

test("a name that is given to another namespace has another cookie", () => {
  const before = netnsCookie(one.fd);
  execFileSync("ip", ["netns", "del", one.name]);
  execFileSync("ip", ["netns", "add", one.name]);
  const fd = openNetns(one.path);
  expect(sameNetns(fd, one.fd)).toBe(false);
  expect(netnsCookie(fd)).not.toBe(before);
  closeFd(fd);
});

test("what isn't a network namespace is refused, without waiting", () => {
  execFileSync("mkfifo", [joinPath(folder, "fifo")]);
  writeFileSync(joinPath(folder, "file"), "");
  for (const name of ["fifo", "file", "."]) {
    expect(() => openNetns(joinPath(folder, name))).toThrow(/EINVAL/);
  }
  expect(() => openNetns("/proc/self/ns/mnt")).toThrow(/EINVAL/);
  expect(() => openNetns("/dev/null")).toThrow(/EINVAL/);
  expect(() => openNetns(joinPath(folder, "absent"))).toThrow(/ENOENT/);
  expect(() => openNetns("/run/netns/a\0b")).toThrow(/EINVAL/);
  expect(() => openNetns("a".repeat(5000))).toThrow(/ENAMETOOLONG/);
});

test("descriptors are closed on exec", () => {
  for (const open of [() => openNetns(one.path), () => Route.open({ netns: one.fd })]) {
    const opened = open();
    const fd = typeof opened === "number" ? opened : readFdOf();
    expect(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1")).toMatch(/^flags:\s+02\d{6}$/m);
  }
});

/** The newest descriptor of this process that is a socket. */
function readFdOf(): number {
  const listing = execFileSync("ls", [`/proc/${process.pid}/fd`])
    .toString()
    .trim()
    .split("\n")
    .map(Number);
  return Math.max(...listing.filter((fd) => isSocket(fd)));
}

function isSocket(fd: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
  } catch {
    return false;
  }
}

test("the thread comes home, also when nothing could be opened", () => {
  const home = own();
  const route = Route.open({ netns: one.fd });
  expect(route.links().map(({ name }) => name)).toEqual(["lo"]);
  expect(own()).toBe(home);
  expect(() => Route.open({ netns: 0 })).toThrow(/EINVAL|EBADF/);
  expect(() => readFileInNetns(one.fd, "/proc/sys/net/absent")).toThrow(/ENOENT/);
  expect(own()).toBe(home);
  route.close();
});

test("files of /proc speak of the namespace", () => {
  const path = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close";
  const ours = readFileSync(path, "latin1");
  writeFileInNetns(one.fd, path, "77");
  expect(readFileInNetns(one.fd, path)).toBe("77\n");
  expect(readFileInNetns(other.fd, path)).toBe("10\n");
  expect(readFileSync(path, "latin1")).toBe(ours);
  expect(readFileInNetns(one.fd, "/proc/thread-self/net/dev").split("\n")).toHaveLength(4);
});

test("a Unix socket tells who connected", async () => {
  const server = createServer();
  server.listen(joinPath(folder, "socket"));
  await once(server, "listening");
  const client = createConnection(joinPath(folder, "socket"));
  const [accepted] = (await once(server, "connection")) as [Socket];
  const { fd } = (accepted as unknown as { _handle: { fd: number } })._handle;
  expect(getPeerCredentials(fd)).toEqual({
    pid: process.pid,
    uid: process.getuid?.(),
    gid: process.getgid?.(),
  });
  client.destroy();
  accepted.destroy();
  server.close();
});
