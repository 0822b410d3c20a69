/** Where the log goes while the enforcer is away: a bounded file that only root can have made. */
import {
  chmodSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { CniError } from "../../plugin/cni-error.ts";
import { Deadline } from "../../plugin/deadline.ts";
import { deliver } from "../../plugin/log.ts";
import type { LogTarget } from "../../plugin/log.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "plugin-log-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const entry = { level: "warn", message: "what happened", fields: { code: 11 } } as const;

function target(): LogTarget {
  return {
    socket: join(folder, "enforcer.sock"),
    connect: () => Promise.reject(new CniError("tryLater", "away")),
    deadline: new Deadline(1000, () => 0),
    now: () => new Date(0),
  };
}

it("is a line of JSON in plugin.log beside the socket, readable by root alone", async () => {
  await deliver(entry, target());
  const path = join(folder, "plugin.log");
  expect(JSON.parse(readFileSync(path, "utf8"))).toEqual({ time: "1970-01-01T00:00:00.000Z", ...entry });
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

it("never grows past two files of 256 KiB and a line", async () => {
  for (let round = 0; round < 2000; round++) await deliver({ ...entry, message: "x".repeat(5000) }, target());
  expect(readdirSync(folder).toSorted()).toEqual(["plugin.log", "plugin.log.1"]);
  for (const name of readdirSync(folder))
    expect(statSync(join(folder, name)).size).toBeLessThan(256 * 1024 + 2000);
});

it("is not written into a folder that others may enter, nor through a symbolic link", async () => {
  chmodSync(folder, 0o755);
  await deliver(entry, target());
  expect(readdirSync(folder)).toEqual([]);
  chmodSync(folder, 0o700);
  const victim = join(folder, "victim");
  writeFileSync(victim, "");
  symlinkSync(victim, join(folder, "plugin.log"));
  await deliver(entry, target());
  expect(readFileSync(victim, "utf8")).toBe("");
});
