import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { PuTable } from "../../enforcer/control/pu-table.ts";
import { puIdOf } from "../../enforcer/control/pu-record.ts";
import { RegistryFolder } from "../../enforcer/control/registry-folder.ts";
import { OperationError } from "../../enforcer/operation-error.ts";
import { addRequest, FakeHost, FakeLog, FakeNamespaces } from "./fakes.ts";

let folder: string;
let namespaces: FakeNamespaces;
let host: FakeHost;
let log: FakeLog;
let table: PuTable;
const owner = Symbol("connection");
const key = { network: "net", containerId: "a", ifname: "eth0" };
const id = puIdOf(key);

function makeTable(maximumPus = 100): PuTable {
  const now = (): number => Date.UTC(2026, 0, 1);
  const registry = RegistryFolder.open(folder);
  return new PuTable({
    folder: registry,
    namespaces,
    host,
    log,
    node: "node-a",
    markMask: 0xfff00000,
    maximumPus,
    now,
  });
}

async function addEnforced(name: string): Promise<void> {
  namespaces.make(`/ns/${name}`, "7");
  expect(await table.add(addRequest(name), owner)).toMatchObject({ ok: true });
  expect(await table.enforce(puIdOf({ ...key, containerId: name }), owner)).toMatchObject({ ok: true });
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pu-table-"));
  namespaces = new FakeNamespaces();
  host = new FakeHost();
  log = new FakeLog();
  table = makeTable();
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe("ADD", () => {
  test("prepares, and only enforce records", async () => {
    namespaces.make("/ns/a", "7");
    const answer = await table.add(addRequest("a"), owner);
    expect(answer).toEqual({
      ok: true,
      value: {
        puId: id,
        markMask: 0xfff00000,
        onLinkPrefixes6: ["fd00::/64"],
        sourceAddresses: ["10.1.0.2"],
      },
    });
    expect([...host.attached.keys()]).toEqual([id]);
    expect(readdirSync(folder)).toEqual([]);
    expect(table.list()).toEqual([]);
    expect(host.guarded.size).toBe(0);
    expect(await table.enforce(id, owner)).toEqual({ ok: true, value: {} });
    expect([...host.guarded]).toEqual([id]);
    expect(readdirSync(folder)).toEqual([`${id}.copy`, `${id}.json`]);
    expect(table.list()).toMatchObject([
      { ...key, id, netnsCookie: "7", enforcedSince: "2026-01-01T00:00:00.000Z" },
    ]);
  });

  test("whose record can't be written is refused at enforce, and nothing of it stays", async () => {
    namespaces.make("/ns/a", "7");
    expect(await table.add(addRequest("a"), owner)).toMatchObject({ ok: true });
    rmSync(folder, { recursive: true });
    expect(await table.enforce(id, owner)).toMatchObject({ ok: false, error: { code: 105 } });
    mkdirSync(folder, { mode: 0o700 });
    expect([host.attached.size, host.guarded.size, namespaces.opened.size]).toEqual([0, 0, 0]);
    expect(await table.enforce(id, owner)).toMatchObject({ ok: false, error: { code: 102 } });
    expect(table.list()).toEqual([]);
  });

  test("adds the attributes that only the enforcer may say", async () => {
    namespaces.make("/ns/a", "7");
    await table.add(
      addRequest("a", { pod: { namespace: "shop", name: "p", serviceAccount: "robot" } }),
      owner,
    );
    expect(host.attached.get(id)?.record.attributes).toEqual(
      new Map([
        ["@node", ["node-a"]],
        ["@ns", ["shop"]],
        ["@sa", ["robot"]],
        ["app", ["web"]],
      ]),
    );
  });

  test.each<[string, Parameters<typeof addRequest>[1], number]>([
    ["a path that is no namespace", { netnsPath: "/ns/none" }, 104],
    ["another namespace than claimed", { netnsCookie: "8" }, 104],
    ["an interface that isn't there", { ifname: "eth1" }, 104],
    ["addresses that it doesn't hold", { addresses: [{ address: "10.1.0.3", prefixLength: 24 }] }, 104],
    ["no address at all", { addresses: [] }, 104],
    ["an address that is none", { addresses: [{ address: "10.1.0", prefixLength: 24 }] }, 100],
    ["the host's own namespace", { netnsPath: "/ns/host", netnsCookie: "1" }, 8],
  ])("refuses %s, and leaves nothing open", async (_, changes, code) => {
    namespaces.make("/ns/a", "7");
    namespaces.make("/ns/host", "1");
    expect(await table.add(addRequest("a", changes), owner)).toMatchObject({ ok: false, error: { code } });
    expect(namespaces.opened.size).toBe(0);
    expect(host.attached.size).toBe(0);
  });

  test("of which one of the addresses claimed is held is granted", async () => {
    namespaces.make("/ns/a", "7");
    const addresses = ["fd00::1", "10.1.0.2"].map((address) => ({ address, prefixLength: 24 }));
    expect(await table.add(addRequest("a", { addresses }), owner)).toMatchObject({ ok: true });
  });

  test.each([
    ["limit", 7],
    ["request-invalid", 7],
    ["timeout", 11],
    ["unreachable", 11],
    ["io", 105],
  ] as const)("that the host refuses with %s has code %d", async (code, expected) => {
    namespaces.make("/ns/a", "7");
    host.beforeAttach = () => {
      throw new OperationError(code, "attach", "no");
    };
    expect(await table.add(addRequest("a"), owner)).toEqual({
      ok: false,
      error: { code: expected, message: "no" },
    });
    expect(namespaces.opened.size).toBe(0);
  });

  test("whose connection ends before enforce is undone", async () => {
    namespaces.make("/ns/a", "7");
    await table.add(addRequest("a"), owner);
    await table.abandon(owner);
    expect([host.attached.size, namespaces.opened.size]).toEqual([0, 0]);
    expect(await table.enforce(id, owner)).toMatchObject({ ok: false, error: { code: 102 } });
  });

  test("that is enforced doesn't end with its connection", async () => {
    await addEnforced("a");
    await table.abandon(owner);
    expect(table.list()).toHaveLength(1);
  });

  test("again is the same answer, and one PU", async () => {
    await addEnforced("a");
    const again = await table.add(addRequest("a"), Symbol("other"));
    expect(again).toMatchObject({ ok: true, value: { puId: id } });
    expect(await table.enforce(id, Symbol("other"))).toEqual({ ok: true, value: {} });
    expect([table.list().length, host.attached.size, namespaces.opened.size]).toEqual([1, 1, 1]);
  });

  test("again with other content is refused while the first one lives", async () => {
    await addEnforced("a");
    const again = await table.add(addRequest("a", { attributes: { app: "db" } }), Symbol("other"));
    expect(again).toMatchObject({ ok: false, error: { code: 106 } });
    expect(table.list()[0]?.attributes.get("app")).toEqual(["web"]);
    expect(namespaces.opened.size).toBe(1);
  });

  test("again for a namespace that took the place of a vanished one replaces it", async () => {
    await addEnforced("a");
    namespaces.make("/ns/a", "9");
    const other = Symbol("other");
    expect(await table.add(addRequest("a", { netnsCookie: "9" }), other)).toMatchObject({ ok: true });
    await table.enforce(id, other);
    expect(table.list()).toMatchObject([{ netnsCookie: "9" }]);
    expect([...namespaces.opened.values()]).toEqual(["9"]);
  });

  test("while another one is being prepared is refused for now, and can't be enforced by a stranger", async () => {
    namespaces.make("/ns/a", "7");
    await table.add(addRequest("a"), owner);
    const stranger = Symbol("stranger");
    expect(await table.add(addRequest("a"), stranger)).toMatchObject({ ok: false, error: { code: 11 } });
    expect(await table.enforce(id, stranger)).toMatchObject({ ok: false, error: { code: 102 } });
    expect(await table.enforce(id, owner)).toMatchObject({ ok: true });
  });

  test("beyond the limit is refused for now", async () => {
    table = makeTable(2);
    await addEnforced("a");
    await addEnforced("b");
    namespaces.make("/ns/c", "7");
    expect(await table.add(addRequest("c"), owner)).toMatchObject({ ok: false, error: { code: 11 } });
  });

  test("that hangs keeps no other attachment waiting", async () => {
    host.beforeAttach = (pu) =>
      pu.record.containerId === "a" ? new Promise<void>(() => undefined) : undefined;
    namespaces.make("/ns/a", "7");
    void table.add(addRequest("a"), owner);
    await addEnforced("b");
  });
});

describe("DEL", () => {
  test("lets go of everything, and again is success", async () => {
    await addEnforced("a");
    for (let round = 0; round < 1000; round++) expect(await table.del(key)).toEqual({ ok: true, value: {} });
    expect([readdirSync(folder), host.attached.size, namespaces.opened.size]).toEqual([[], 0, 0]);
  });

  test("during the ADD ends with nothing", async () => {
    let go = (): void => undefined;
    host.beforeAttach = () => new Promise<void>((resolve) => (go = resolve));
    namespaces.make("/ns/a", "7");
    const adding = table.add(addRequest("a"), owner);
    const deleting = table.del(key);
    await new Promise(setImmediate);
    go();
    expect(await adding).toMatchObject({ ok: true });
    expect(await deleting).toMatchObject({ ok: true });
    expect(await table.enforce(id, owner)).toMatchObject({ ok: false, error: { code: 102 } });
    expect([readdirSync(folder), host.attached.size, namespaces.opened.size]).toEqual([[], 0, 0]);
  });

  test("removes a damaged record", async () => {
    writeFileSync(join(folder, `${id}.json`), "");
    expect(await table.del(key)).toMatchObject({ ok: true });
    expect(readdirSync(folder)).toEqual([]);
  });

  test("leaves others alone", async () => {
    await addEnforced("a");
    await addEnforced("b");
    await table.del(key);
    expect(table.list()).toMatchObject([{ containerId: "b" }]);
  });
});

describe("CHECK", () => {
  test("knows the enforced one, in its namespace", async () => {
    await addEnforced("a");
    const answer = {
      puId: id,
      markMask: 0xfff00000,
      onLinkPrefixes6: ["fd00::/64"],
      sourceAddresses: ["10.1.0.2"],
    };
    const value = { ...answer, enforcedSince: "2026-01-01T00:00:00.000Z" };
    expect(await table.check({ op: "check", ...key, netnsCookie: "7" })).toEqual({ ok: true, value });
    const other = await table.check({ op: "check", ...key, netnsCookie: "8" });
    expect(other).toMatchObject({ ok: false, error: { code: 104 } });
  });

  test("fails for an unknown one, and for one that is being added", async () => {
    const request = { op: "check", ...key } as const;
    expect(await table.check(request)).toMatchObject({ ok: false, error: { code: 102 } });
    namespaces.make("/ns/a", "7");
    await table.add(addRequest("a"), owner);
    expect(await table.check(request)).toMatchObject({ ok: false, error: { code: 11 } });
  });
});

describe("GC", () => {
  test("keeps what is listed by container and interface, and other networks", async () => {
    for (const name of ["a", "b", "c"]) await addEnforced(name);
    namespaces.make("/ns/d", "7");
    await table.add(addRequest("d", { network: "other" }), owner);
    await table.enforce(puIdOf({ ...key, network: "other", containerId: "d" }), owner);
    const answer = await table.gc({
      op: "gc",
      network: "net",
      attachments: [
        { containerId: "a", ifname: "eth0" },
        { containerId: "b", ifname: "eth1" },
      ],
    });
    const gone = ["b", "c"].map((containerId) => puIdOf({ ...key, containerId })).sort();
    expect({ ...answer, released: [...answer.released].sort() }).toEqual({ released: gone, failures: [] });
    expect(
      table
        .list()
        .map(({ containerId }) => containerId)
        .sort(),
    ).toEqual(["a", "d"]);
  });
});

describe("release", () => {
  test("removes rules, lets go, and is logged", async () => {
    await addEnforced("a");
    await addEnforced("b");
    expect(await table.release(id)).toEqual({ ok: true, value: { released: [id], failures: [] } });
    expect(host.released).toEqual([{ puId: id, staying: [puIdOf({ ...key, containerId: "b" })] }]);
    expect(log.messages("warn")).toEqual(["PU released: its interface is open now"]);
    expect(await table.release(undefined)).toMatchObject({ ok: true, value: { failures: [] } });
    expect(host.released.at(-1)?.staying).toBe(undefined);
    expect([table.list(), readdirSync(folder), namespaces.opened.size]).toEqual([[], [], 0]);
    expect(await table.release(id)).toMatchObject({ ok: false, error: { code: 102 } });
  });

  test("that fails leaves the PU enforced", async () => {
    await addEnforced("a");
    host.removeRules = () => {
      throw new Error("EPERM");
    };
    expect(await table.release(undefined)).toEqual({
      ok: true,
      value: { released: [], failures: [{ puId: id, message: "EPERM" }] },
    });
    expect(table.list()).toHaveLength(1);
  });
});

describe("a namespace that vanishes", () => {
  test.each([
    ["is gone", (): unknown => namespaces.paths.delete("/ns/a")],
    ["is another one", (): unknown => namespaces.paths.set("/ns/a", "99")],
  ])("from its path (%s) takes its PU along, and no other", async (_, vanish) => {
    await addEnforced("a");
    await addEnforced("b");
    await table.sweep();
    expect(table.list()).toHaveLength(2);
    vanish();
    await table.sweep();
    expect(table.list()).toMatchObject([{ containerId: "b" }]);
    expect([host.attached.size, namespaces.opened.size, readdirSync(folder).length]).toEqual([1, 1, 2]);
  });
});

describe("a restart", () => {
  test("goes on with what was enforced, and not with what was only prepared", async () => {
    await addEnforced("a");
    namespaces.make("/ns/b", "7");
    await table.add(addRequest("b"), owner);
    const before = table.list();
    host = new FakeHost();
    table = makeTable();
    expect(await table.restore()).toEqual({ restored: 1, dropped: 0 });
    expect(table.list()).toEqual(before);
    expect([[...host.attached.keys()], [...host.guarded]]).toEqual([[id], [id]]);
  });

  test("that the host can't take up yet is tried again, and DEL still works", async () => {
    await addEnforced("a");
    await addEnforced("b");
    host = new FakeHost();
    host.beforeAttach = () => {
      throw new OperationError("keys-invalid", "mint", "no key");
    };
    namespaces.opened.clear();
    table = makeTable();
    expect(await table.restore()).toEqual({ restored: 0, dropped: 2 });
    expect(readdirSync(folder)).toHaveLength(4);
    expect(await table.del(key)).toMatchObject({ ok: true });
    host.beforeAttach = () => undefined;
    await table.sweep();
    expect(table.list()).toMatchObject([{ containerId: "b" }]);
    expect(namespaces.opened.size).toBe(1);
  });
});

test("many ADDs and DELs in any order end with nothing", async () => {
  host.beforeAttach = () => new Promise((resolve) => setTimeout(resolve, Math.random() * 3));
  const names = Array.from({ length: 110 }, (_, index) => `c${index}`);
  for (const name of names) namespaces.make(`/ns/${name}`, "7");
  table = makeTable(1000);
  await Promise.all(
    names.map(async (name) => {
      const connection = Symbol(name);
      const attachment = { ...key, containerId: name };
      const adding = table.add(addRequest(name), connection);
      if (Math.random() < 0.5) void table.del(attachment);
      if ((await adding).ok && Math.random() < 0.7) await table.enforce(puIdOf(attachment), connection);
      await table.abandon(connection);
      await table.del(attachment);
    }),
  );
  expect([readdirSync(folder), host.attached.size, namespaces.opened.size, table.list()]).toEqual([
    [],
    0,
    0,
    [],
  ]);
});
