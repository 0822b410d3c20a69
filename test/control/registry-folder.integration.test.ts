import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { decodeRecord, encodeRecord, puIdOf, type PuRecord } from "../../enforcer/control/pu-record.ts";
import { RegistryFolder } from "../../enforcer/control/registry-folder.ts";
import { noteRelease, takeReleases } from "../../enforcer/control/release-journal.ts";

let parent: string;
let path: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "registry-"));
  path = join(parent, "state");
});

afterEach(() => {
  rmSync(parent, { recursive: true });
});

function record(containerId: string): PuRecord {
  const key = { network: "n", containerId, ifname: "eth0" };
  return {
    ...key,
    id: puIdOf(key),
    netnsPath: "/run/netns/a",
    netnsCookie: "18446744073709551615",
    addresses: [{ address: "10.1.0.2", prefixLength: 24 }],
    attributes: new Map([
      ["@ns", ["shop"]],
      ["app", ["db", "web"]],
    ]),
    mtu: 1500,
    onLinkPrefixes6: ["fd00::/64"],
    enforcedSince: "2026-01-01T00:00:00.000Z",
  };
}

test("an id is the first 16 hex digits of SHA-256 over network, container and interface", () => {
  // printf 'net\0abc\0eth0' | sha256sum
  expect(puIdOf({ network: "net", containerId: "abc", ifname: "eth0" })).toBe("b72bfe70b7a5c99e");
});

test("a record survives writing and reading; the folder is 0700 and files are 0600", async () => {
  const folder = RegistryFolder.open(path);
  await folder.write(record("a"));
  await folder.write(record("a"));
  expect(folder.load()).toEqual([{ ok: true, record: record("a") }]);
  expect(statSync(path).mode & 0o777).toBe(0o700);
  expect(statSync(join(path, `${record("a").id}.json`)).mode & 0o777).toBe(0o600);
  folder.remove(record("a").id);
  folder.remove(record("a").id);
  expect(readdirSync(path)).toEqual([]);
});

test("every strict prefix of a record is refused", () => {
  const text = encodeRecord(record("a")).trimEnd();
  for (let length = 0; length < text.length; length++)
    expect(decodeRecord(text.slice(0, length)).ok).toBe(false);
  expect(decodeRecord(text).ok).toBe(true);
});

test.each<[string, (text: string) => string]>([
  ["another version", (text) => text.replace('"version":1', '"version":2')],
  ["another attachment", (text) => text.replace('"containerId":"a"', '"containerId":"b"')],
  ["no attributes", (text) => text.replace('"attributes"', '"attribute"')],
  ["an array", () => "[]"],
])("%s is refused", (_, change) => {
  expect(decodeRecord(change(encodeRecord(record("a")))).ok).toBe(false);
});

test("files that aren't ours, or not what they say, are problems; the others go on", async () => {
  const folder = RegistryFolder.open(path);
  const names = ["good", "cut", "foreign", "open", "moved", "link", "big"];
  for (const name of names) await folder.write(record(name));
  const file = (name: string): string => join(path, `${record(name).id}.json`);
  writeFileSync(file("cut"), readFileSync(file("cut"), "utf8").slice(0, 40));
  writeFileSync(file("cut").replace("json", "copy"), "");
  writeFileSync(file("moved").replace("json", "copy"), "");
  rmSync(file("good").replace("json", "copy"));
  chownSync(file("foreign"), 65534, 65534);
  chmodSync(file("open"), 0o666);
  writeFileSync(file("moved"), readFileSync(file("good")));
  rmSync(file("link"));
  symlinkSync(file("good"), file("link"));
  writeFileSync(file("big"), " ".repeat(300_000));
  writeFileSync(join(path, `.${record("good").id}.json.new`), "left by a crash");
  writeFileSync(join(path, "README"), "not a record");
  const loaded = folder.load();
  expect(loaded.filter(({ ok }) => ok)).toEqual([{ ok: true, record: record("good") }]);
  const problems = loaded.filter((one) => !one.ok).map((one) => [one.file, one.problem.split(":", 1)[0]]);
  expect(new Map(problems as [string, string][])).toEqual(
    new Map([
      [file("cut"), "not JSON, or cut short"],
      [file("foreign"), "belongs to user 65534"],
      [file("open"), "writable for others"],
      [file("moved"), "another PU's record"],
      [file("link"), "ELOOP"],
      [file("big"), "longer than 262144 bytes"],
    ]),
  );
  expect(readdirSync(path)).not.toContain(`.${record("good").id}.json.new`);
});

test("on a full disk a record is refused whole: no part of it stays, and the one before does", async () => {
  mkdirSync(path, { mode: 0o700 });
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=16k,mode=700", "none", path]);
  try {
    const folder = RegistryFolder.open(path);
    await folder.write(record("a"));
    // One page is left: room for a record, and none for its copy.
    writeFileSync(join(path, "filler"), Buffer.alloc(4096));
    const files = readdirSync(path).sort();
    await expect(folder.write(record("b"))).rejects.toThrow(/ENOSPC/);
    const newer = { ...record("a"), mtu: 1400 };
    await expect(folder.write(newer)).rejects.toThrow(/ENOSPC/);
    expect(readdirSync(path).sort()).toEqual(files);
    expect(folder.load()).toEqual([{ ok: true, record: record("a") }]);
    rmSync(join(path, "filler"));
    await folder.write(newer);
    expect(folder.load()).toEqual([{ ok: true, record: newer }]);
  } finally {
    execFileSync("umount", [path]);
  }
});

test("a damaged record is restored from its copy; a copy alone is none", async () => {
  const folder = RegistryFolder.open(path);
  await folder.write(record("a"));
  await folder.write(record("b"));
  writeFileSync(join(path, `${record("a").id}.json`), "");
  rmSync(join(path, `${record("b").id}.json`));
  expect(folder.load()).toEqual([{ ok: true, record: record("a"), damage: "not JSON, or cut short" }]);
});

test.each<[string, () => void]>([
  ["a link", () => symlinkSync(parent, path)],
  ["open to others", () => chmodSync(RegistryFolder.open(path).path, 0o755)],
  ["another user's", () => chownSync(RegistryFolder.open(path).path, 65534, 65534)],
  ["a file", () => writeFileSync(path, "")],
])("a folder that is %s is refused", (_, make) => {
  make();
  expect(() => RegistryFolder.open(path)).toThrow(expect.objectContaining({ name: "OperationError" }));
});

test("releases without an enforcer are remembered once", () => {
  const folder = RegistryFolder.open(path);
  noteRelease(path, "0123456789abcdef", "2026-01-01T00:00:00.000Z");
  noteRelease(path, "fedcba9876543210", "2026-01-01T00:00:01.000Z");
  expect(takeReleases(folder.path)).toEqual([
    { time: "2026-01-01T00:00:00.000Z", puId: "0123456789abcdef" },
    { time: "2026-01-01T00:00:01.000Z", puId: "fedcba9876543210" },
  ]);
  expect(takeReleases(folder.path)).toEqual([]);
});
