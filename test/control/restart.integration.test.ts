/** A restart with real namespaces: what is gone, replaced or cut short is dropped and reported, and the rest goes on. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { tryLockFile } from "../../netlink/file-lock.ts";
import { closeFd, getPeerCredentials } from "../../netlink/netns.ts";
import { ControlServer } from "../../enforcer/control/server.ts";
import { kernelNamespaces } from "../../enforcer/control/kernel-namespaces.ts";
import { puIdOf } from "../../enforcer/control/pu-record.ts";
import { PuTable } from "../../enforcer/control/pu-table.ts";
import { RegistryFolder } from "../../enforcer/control/registry-folder.ts";
import { addRequest, FakeHost, FakeLog } from "./fakes.ts";
import { LineClient } from "./line-client.ts";

const COUNT = 50;
const prefix = `ctlrst${process.pid}`;
const namespaces = kernelNamespaces();
let folder: string;
const made = new Set<string>();

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "restart-"));
});

afterEach(() => {
  for (const name of made) removeNamespace(name);
  rmSync(folder, { recursive: true });
});

function makeNamespace(name: string): void {
  execFileSync("ip", ["netns", "add", name]);
  made.add(name);
  execFileSync("ip", ["-n", name, "addr", "add", "10.1.0.2/32", "dev", "lo"]);
}

function removeNamespace(name: string): void {
  execFileSync("ip", ["netns", "del", name]);
  made.delete(name);
}

function cookieOf(path: string): string {
  const fd = namespaces.open(path);
  try {
    return namespaces.cookie(fd);
  } finally {
    closeFd(fd);
  }
}

function makeTable(host: FakeHost, log: FakeLog): PuTable {
  return new PuTable({
    folder: RegistryFolder.open(folder),
    namespaces,
    host,
    log,
    node: "node-a",
    markMask: 0xfff00000,
    maximumPus: 1000,
    now: Date.now,
  });
}

function requestFor(name: string): ReturnType<typeof addRequest> {
  const netnsPath = `/run/netns/${name}`;
  return addRequest(name, { netnsPath, netnsCookie: cookieOf(netnsPath), ifname: "lo" });
}

test("50 PUs; a namespace gone, one replaced, a record cut short: 48 go on, the rest are reported, nothing stays open", async () => {
  const names = Array.from({ length: COUNT }, (_, index) => `${prefix}-${index}`);
  const idOf = (name: string): string => puIdOf({ network: "net", containerId: name, ifname: "lo" });
  const [gone = "", replaced = "", ...others] = names;
  const [vanishing = "", cut = ""] = others;
  const before = makeTable(new FakeHost(), new FakeLog());
  for (const name of names) {
    makeNamespace(name);
    const owner = Symbol(name);
    expect(await before.add(requestFor(name), owner)).toMatchObject({ ok: true });
    expect(await before.enforce(idOf(name), owner)).toMatchObject({ ok: true });
  }
  await before.close();
  removeNamespace(gone);
  removeNamespace(replaced);
  makeNamespace(replaced);
  const cutFile = join(folder, `${idOf(cut)}.json`);
  writeFileSync(cutFile, readFileSync(cutFile).subarray(0, 100));

  const host = new FakeHost();
  const log = new FakeLog();
  const table = makeTable(host, log);
  const openBefore = readdirSync("/proc/self/fd").length;
  expect(await table.restore()).toEqual({ restored: COUNT - 2, dropped: 2 });
  const expected = others.map(idOf).sort();
  expect(table.list().map(({ id }) => id)).toEqual(expected);
  expect([...host.attached.keys()].sort()).toEqual(expected);
  expect(readdirSync("/proc/self/fd").length).toBe(openBefore + COUNT - 2);
  const reported = log.lines.filter(({ level }) => level === "warn" || level === "error");
  expect(reported.map(({ message, fields }) => [message, fields["containerId"]]).sort()).toEqual(
    [
      ["registry: PU dropped", gone],
      ["registry: PU dropped", replaced],
      ["registry: record restored from its copy", cut],
    ].sort(),
  );

  // While it runs, too; and the descriptors go with the PUs.
  removeNamespace(vanishing);
  await table.sweep();
  expect(table.list()).toHaveLength(COUNT - 3);
  expect(readdirSync("/proc/self/fd").length).toBe(openBefore + COUNT - 3);
  await table.close();
  expect(readdirSync("/proc/self/fd").length).toBe(openBefore);

  // With the copy cut as well, that PU is dropped.
  for (const file of [cutFile, cutFile.replace("json", "copy")]) writeFileSync(file, "{");
  const last = makeTable(new FakeHost(), new FakeLog());
  expect(await last.restore()).toEqual({ restored: COUNT - 4, dropped: 1 });
  await last.close();
}, 60_000);

test("an ADD binds to a namespace only what the kernel confirms", async () => {
  const name = `${prefix}-claims`;
  makeNamespace(name);
  const table = makeTable(new FakeHost(), new FakeLog());
  const request = requestFor(name);
  const add = (changes: object): unknown => table.add({ ...request, ...changes }, Symbol("c"));
  expect(await add({ netnsPath: "/proc/self/ns/net" })).toMatchObject({ error: { code: 8 } });
  expect(await add({ netnsPath: "/etc/passwd" })).toMatchObject({ error: { code: 104 } });
  expect(await add({ netnsPath: "/proc/self/ns/mnt" })).toMatchObject({ error: { code: 104 } });
  expect(await add({ netnsCookie: "1" })).toMatchObject({ error: { code: 104 } });
  expect(await add({ ifname: "eth0" })).toMatchObject({ error: { code: 104 } });
  expect(await add({ addresses: [{ address: "10.1.0.3", prefixLength: 24 }] })).toMatchObject({
    error: { code: 104 },
  });
  expect(await add({})).toMatchObject({ ok: true });
  await table.close();
});

test("only root is heard, by what the kernel says of the other end", async () => {
  const path = join(folder, "run", "e.sock");
  const heard: string[] = [];
  const server = await ControlServer.listen({
    path,
    handle: (line) => {
      heard.push(line);
      return Promise.resolve();
    },
    onClosed: () => undefined,
    peerUid: (fd) => getPeerCredentials(fd).uid,
    tryLock: tryLockFile,
    registry: folder,
    log: new FakeLog(),
  });
  // Opened up, as if the modes had failed to keep strangers out.
  execFileSync("chmod", ["0755", folder, join(folder, "run")]);
  execFileSync("chmod", ["0666", path]);
  const script = `require("net").connect(${JSON.stringify(path)}).on("error", () => {}).on("data", (d) => process.stdout.write(d)).write('{"version":1,"op":"status"}\\n')`;
  const { spawn } = await import("node:child_process");
  const node = spawn(process.execPath, ["-e", script], { uid: 65534, gid: 65534, cwd: "/", env: {} });
  let output = "";
  node.stdout.on("data", (piece: Buffer) => (output += piece.toString()));
  node.stderr.on("data", (piece: Buffer) => (output += piece.toString()));
  await new Promise((resolve) => node.once("close", resolve));
  if (!output.startsWith("{")) throw new Error(output);
  expect(JSON.parse(output)).toMatchObject({ ok: false, error: { code: 103 } });
  const root = await LineClient.open(path);
  root.send({ op: "status" });
  for (let round = 0; round < 200 && heard.length === 0; round++)
    await new Promise((resolve) => setTimeout(resolve, 5));
  expect(heard).toEqual(['{"version":1,"op":"status"}']);
  root.close();
  await server.close();
});
