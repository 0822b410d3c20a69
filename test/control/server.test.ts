import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ControlClient } from "../../enforcer/control/client.ts";
import { Dispatcher, type ControlSources } from "../../enforcer/control/dispatch.ts";
import { PuTable } from "../../enforcer/control/pu-table.ts";
import type { ControlError } from "../../enforcer/control/messages.ts";
import type { FlowDocument } from "../../enforcer/control/operator-messages.ts";
import { puIdOf } from "../../enforcer/control/pu-record.ts";
import { RegistryFolder } from "../../enforcer/control/registry-folder.ts";
import { ControlServer, type ControlLimits } from "../../enforcer/control/server.ts";
import { addRequest, FakeHost, FakeLog, FakeNamespaces } from "./fakes.ts";
import { LineClient } from "./line-client.ts";

let folder: string;
let path: string;
let server: ControlServer;
let table: PuTable;
let host: FakeHost;
let namespaces: FakeNamespaces;
let log: FakeLog;
let uid: number;
let unready: ControlError | undefined;
let answered: [string, number][];
let refused: number[];
let followers: Set<(flow: FlowDocument) => void>;
const clients: LineClient[] = [];

const flow = (port: number): FlowDocument => ({
  version: 1,
  time: "2026-01-01T00:00:00.000Z",
  verdict: "allow",
  reason: "rule-allow",
  rule: "p/r",
  proof: "token",
  reporter: "source",
  protocol: "tcp",
  source: { id: null, attributes: null, address: "10.0.0.1", port: 1 },
  destination: { id: null, attributes: null, address: "10.0.0.2", port },
  latencyUs: 5,
});

function sources(): ControlSources {
  const counted = answered;
  return {
    enforcerVersion: "9.9.9",
    started: Promise.resolve(undefined),
    unreadiness: () => unready,
    summary: () => ({
      enforcer: { version: "9.9.9", startedAt: "t" },
      counters: { "no-rule": 2 },
      warnings: [],
    }),
    recentFlows: () => [flow(1), flow(2), flow(3)],
    missingFlows: () => 4,
    followFlows: (listener) => {
      followers.add(listener);
      return () => followers.delete(listener);
    },
    onAnswered: (op, code) => counted.push([op, code]),
  };
}

async function start(limits: Partial<ControlLimits> = {}): Promise<void> {
  table = new PuTable({
    folder: RegistryFolder.open(join(folder, "state")),
    namespaces,
    host,
    log,
    node: "node-a",
    markMask: 0xfff00000,
    maximumPus: 100,
    now: Date.now,
  });
  const dispatcher = new Dispatcher(table, sources(), log);
  server = await ControlServer.listen({
    path,
    handle: (line, session) => dispatcher.handle(line, session),
    onClosed: (session) => void dispatcher.closed(session),
    peerUid: () => uid,
    // The lock itself needs the addon: socket-place.integration.test.ts.
    tryLock: () => true,
    registry: join(folder, "state"),
    onRefused: ({ code }) => refused.push(code),
    log,
    limits,
  });
}

async function client(): Promise<LineClient> {
  const one = await LineClient.open(path);
  clients.push(one);
  return one;
}

async function until(what: () => boolean): Promise<void> {
  for (let round = 0; round < 400 && !what(); round++) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(what()).toBe(true);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "control-"));
  path = join(folder, "run", "e.sock");
  namespaces = new FakeNamespaces();
  host = new FakeHost();
  log = new FakeLog();
  uid = 0;
  unready = undefined;
  answered = [];
  refused = [];
  followers = new Set();
});

afterEach(async () => {
  for (const one of clients.splice(0)) one.close();
  await server.close();
  rmSync(folder, { recursive: true });
});

const id = puIdOf({ network: "net", containerId: "a", ifname: "eth0" });

describe("the plugin's way", () => {
  test("add, enforce, check, status, log, gc, del", async () => {
    await start();
    namespaces.make("/ns/a", "7");
    const plugin = await client();
    const ok = { version: 1, ok: true };
    const puFacts = {
      puId: id,
      markMask: 0xfff00000,
      onLinkPrefixes6: ["fd00::/64"],
      sourceAddresses: ["10.1.0.2"],
    };
    expect(await plugin.ask(addRequest("a"))).toEqual({ ...ok, ...puFacts });
    expect([await plugin.ask({ op: "enforce", puId: id }), log.messages("error")]).toEqual([ok, []]);
    const key = { network: "net", containerId: "a", ifname: "eth0" };
    expect(await plugin.ask({ op: "check", ...key })).toMatchObject({ ...ok, ...puFacts });
    expect(await plugin.ask({ op: "status" })).toEqual({ ...ok, ready: true, enforcerVersion: "9.9.9" });
    expect(await plugin.ask({ op: "log", level: "warn", message: "m", fields: { a: 1 } })).toEqual(ok);
    expect(log.lines.find(({ message }) => message === "plugin")).toEqual({
      level: "warn",
      message: "plugin",
      fields: { a: 1, text: "m" },
    });
    expect(await plugin.ask({ op: "gc", network: "net", attachments: [] })).toEqual({
      ...ok,
      released: [id],
      failures: [],
    });
    expect(await plugin.ask({ op: "del", ...key })).toEqual(ok);
    expect(answered.map(([op, code]) => `${op} ${code}`)).toEqual([
      "add 0",
      "enforce 0",
      "check 0",
      "status 0",
      "log 0",
      "gc 0",
      "del 0",
    ]);
  });

  test("an add whose connection breaks is undone", async () => {
    await start();
    namespaces.make("/ns/a", "7");
    const plugin = await client();
    expect(await plugin.ask(addRequest("a"))).toMatchObject({ ok: true });
    expect(host.attached.size).toBe(1);
    plugin.close();
    await until(() => host.attached.size === 0 && namespaces.opened.size === 0);
  });

  test("an add whose connection breaks while it is being prepared is undone", async () => {
    await start();
    namespaces.make("/ns/a", "7");
    let go = (): void => undefined;
    host.beforeAttach = () => new Promise<void>((resolve) => (go = resolve));
    const plugin = await client();
    plugin.send(addRequest("a"));
    await until(() => namespaces.opened.size === 1);
    plugin.close();
    await new Promise((resolve) => setTimeout(resolve, 20));
    go();
    await until(() => host.attached.size === 0 && namespaces.opened.size === 0);
  });

  test("an add that waits too long for its enforce is undone", async () => {
    await start({ requestTimeoutMs: 50 });
    namespaces.make("/ns/a", "7");
    const plugin = await client();
    expect(await plugin.ask(addRequest("a"))).toMatchObject({ ok: true });
    expect(await plugin.next()).toMatchObject({ ok: false, error: { code: 100 } });
    await until(() => host.attached.size === 0);
  });

  test("status says what is missing", async () => {
    await start();
    unready = { code: 51, message: "why" };
    expect(await (await client()).ask({ op: "status" })).toEqual({ version: 1, ok: false, error: unready });
  });

  test("a client that closes its side after asking is answered", async () => {
    await start();
    const plugin = await client();
    plugin.send({ op: "status" });
    plugin.socket.end();
    expect(await plugin.next()).toMatchObject({ ok: true });
    expect(await plugin.next()).toBe("closed");
  });
});

describe("the operator's way", () => {
  test("list streams PUs and ends with the rest", async () => {
    await start();
    namespaces.make("/ns/a", "7");
    const plugin = await client();
    await plugin.ask(addRequest("a"));
    await plugin.ask({ op: "enforce", puId: id });
    const operator = await ControlClient.connect(path);
    const items: unknown[] = [];
    const end = await operator.stream({ op: "list" }, (item) => items.push(item));
    operator.close();
    expect(items).toEqual([
      {
        id,
        containerId: "a",
        network: "net",
        ifname: "eth0",
        netns: "/ns/a",
        addresses: ["10.1.0.2"],
        attributes: { "@node": "node-a", app: "web" },
        enforcedSince: table.list()[0]?.enforcedSince,
      },
    ]);
    expect(end).toEqual({
      enforcer: { version: "9.9.9", startedAt: "t" },
      counters: { "no-rule": 2 },
      warnings: [],
    });
  });

  test("flows gives the recent ones, at most so many, and then follows", async () => {
    await start();
    const operator = await client();
    operator.send({ op: "flows", follow: true, last: 2 });
    expect(await operator.next()).toMatchObject({ item: flow(2) });
    expect(await operator.next()).toMatchObject({ item: flow(3) });
    expect(await operator.next()).toEqual({ version: 1, ok: true, end: { missing: 4 } });
    for (const listener of followers) listener(flow(4));
    expect(await operator.next()).toMatchObject({ item: flow(4) });
    operator.close();
    await until(() => followers.size === 0);
  });

  test("a follower that doesn't read is cut, and others hear on", async () => {
    await start({ unsentBytes: 100_000 });
    const slow = await client();
    slow.send({ op: "flows", follow: true });
    await slow.next();
    slow.socket.pause();
    const quick = await client();
    quick.send({ op: "flows", follow: true, last: 0 });
    await quick.next();
    await until(() => followers.size === 2);
    for (let count = 0; followers.size === 2 && count < 200_000; count++) {
      for (const listener of followers) listener(flow(count % 65536));
      if (count % 1000 === 0) await new Promise(setImmediate);
    }
    await until(() => followers.size === 1);
    expect(quick.isClosed).toBe(false);
  });

  test("an enforcer that isn't there is unreachable", async () => {
    await start();
    await expect(ControlClient.connect(join(folder, "none"))).rejects.toMatchObject({ code: "unreachable" });
  });
});

describe("hostile clients", () => {
  test("whoever isn't root is told so and cut, before anything is read", async () => {
    await start();
    uid = 65534;
    const stranger = await client();
    stranger.send({ op: "status" });
    expect(await stranger.next()).toMatchObject({ ok: false, error: { code: 103 } });
    expect(await stranger.next()).toBe("closed");
    expect([answered, refused]).toEqual([[], [103]]);
  });

  test.each([
    ["garbage", Buffer.from([0xff, 0xfe, 0x00, 0x0a])],
    ["nothing", "\n"],
    ["half a message", '{"version":1,"op":"del"\n'],
    ["another version", '{"version":7,"op":"status"}\n'],
    ["deep nesting", `${"[".repeat(200_000)}\n`],
  ])("%s is refused, and the connection goes on", async (_, bytes) => {
    await start();
    const hostile = await client();
    hostile.socket.write(bytes);
    expect(await hostile.next()).toMatchObject({ ok: false });
    expect(await hostile.ask({ op: "status" })).toMatchObject({ ok: true });
    expect(answered.map(([, code]) => code)).toEqual([expect.any(Number), 0]);
    const [line] = log.lines;
    expect(line).toMatchObject({ level: "warn", message: "control request refused" });
    expect(line?.fields["code"]).toBe(answered[0]?.[1]);
  });

  test("a line without end is cut at its limit", async () => {
    await start();
    const hostile = await client();
    hostile.socket.write(Buffer.alloc(1024 * 1024 + 2, "x"));
    expect(await hostile.next()).toMatchObject({ ok: false, error: { code: 100 } });
    expect(await hostile.next()).toBe("closed");
    expect([refused, log.messages("warn")]).toEqual([[100], ["control connection refused"]]);
  });

  test("a message that drips doesn't last longer than the limit", async () => {
    await start({ requestTimeoutMs: 100 });
    const hostile = await client();
    const timer = setInterval(() => hostile.send("x"), 10);
    expect(await hostile.next()).toMatchObject({ ok: false, error: { code: 100 } });
    clearInterval(timer);
  });

  test("many requests at once are answered in turn", async () => {
    await start();
    const hostile = await client();
    hostile.send(`${JSON.stringify({ version: 1, op: "status" })}\n`.repeat(2000));
    for (let count = 0; count < 2000; count++) expect(await hostile.next()).toMatchObject({ ok: true });
  });

  test("a client that asks and never reads is cut", async () => {
    await start({ unsentBytes: 50_000 });
    const hostile = await client();
    hostile.socket.pause();
    for (let round = 0; round < 400; round++) hostile.send("\n".repeat(1000));
    await until(() => server.connections === 0);
  });

  test("a thousand connections that say nothing lock nobody out", async () => {
    await start();
    namespaces.make("/ns/a", "7");
    const plugin = await client();
    expect(await plugin.ask(addRequest("a"))).toMatchObject({ ok: true });
    for (let count = 0; count < 1000; count++) await client();
    expect(server.connections).toBeLessThanOrEqual(512);
    expect(refused.length).toBeGreaterThanOrEqual(1001 - 512);
    expect(new Set(refused)).toEqual(new Set([11]));
    expect(await (await client()).ask({ op: "status" })).toMatchObject({ ok: true });
    expect(await plugin.ask({ op: "enforce", puId: id })).toMatchObject({ ok: true });
  });

  test("when every place is in use, a new one is told to come again", async () => {
    await start({ connections: 2 });
    for (const name of ["a", "b"]) {
      namespaces.make(`/ns/${name}`, "7");
      expect(await (await client()).ask(addRequest(name))).toMatchObject({ ok: true });
    }
    expect(await (await client()).next()).toMatchObject({ ok: false, error: { code: 11 } });
  });
});

describe("the socket", () => {
  test("is 0600 in a folder 0700, and goes away at the end", async () => {
    await start();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, "run")).mode & 0o777).toBe(0o700);
    await server.close();
    expect(existsSync(path)).toBe(false);
    await start();
  });

  test("is not taken from an enforcer that listens, and two can have one each", async () => {
    await start();
    const first = server;
    await expect(start()).rejects.toMatchObject({ name: "OperationError" });
    path = join(folder, "run", "second.sock");
    await start();
    expect(await (await client()).ask({ op: "status" })).toMatchObject({ ok: true });
    await first.close();
  });

  test("left by a crash is replaced", async () => {
    await start();
    await server.close();
    const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
    expect(() => execFileSync(process.execPath, ["-e", script], { stdio: "ignore" })).toThrow();
    expect(existsSync(path)).toBe(true);
    await start();
  });

  test.each<[string, () => void]>([
    ["a file", () => writeFileSync(path, "")],
    ["a link", () => symlinkSync("/etc/passwd", path)],
    ["in a folder that is open to others", () => chmodSync(join(folder, "run"), 0o755)],
    ["too long", () => (path = join(folder, "run", "x".repeat(100)))],
  ])("that is %s is refused", async (_, make) => {
    mkdirSync(join(folder, "run"), { mode: 0o700 });
    make();
    await expect(start()).rejects.toMatchObject({ name: "OperationError" });
    path = join(folder, "other", "e.sock");
    await start();
  });

  test("at a place where somebody else's server is busy counts as taken", async () => {
    mkdirSync(join(folder, "run"), { mode: 0o700 });
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(path, resolve));
    await expect(start()).rejects.toMatchObject({ name: "OperationError" });
    await new Promise((resolve) => other.close(resolve));
    await start();
  });
});
