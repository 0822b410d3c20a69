/** `make install` and `make uninstall` into a folder of ours: what is written, by rename, and that all of it goes again. */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { repository } from "../harness/binaries.ts";
import { run, runOk, type CommandResult } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";

let lab: Lab;
let root: string;
beforeEach(() => {
  lab = new Lab();
  root = join(lab.folder, "root");
});
afterEach(() => lab.close());

function make(target: string): Promise<CommandResult> {
  const variables = [`DESTDIR=${root}`, "PREFIX=/opt/trireme", "CNI_BIN_DIR=/cni"];
  return run(["make", target, ...variables], { cwd: repository, timeoutMs: 110_000 });
}

async function files(): Promise<string[]> {
  const listed = await runOk(["find", root, "!", "-type", "d", "-printf", "%m %P\n"]);
  return listed.split("\n").filter(Boolean).sort();
}

test("install writes programs, unit and examples; uninstall removes them", async () => {
  expect(await make("install")).toMatchObject({ status: 0 });
  expect(await files()).toEqual([
    "644 opt/trireme/lib/systemd/system/trireme.service",
    "644 opt/trireme/share/trireme-cni/10-pods.conflist",
    "644 opt/trireme/share/trireme-cni/enforcer.yaml",
    "644 opt/trireme/share/trireme-cni/policy.yaml",
    "755 cni/trireme-cni",
    "755 opt/trireme/bin/trireme",
  ]);
  const unit = readFileSync(join(root, "opt/trireme/lib/systemd/system/trireme.service"), "utf8");
  expect(unit).toContain("\nExecStart=/opt/trireme/bin/trireme enforcer ");
  expect(unit).not.toContain("@PREFIX@");
  expect(await runOk([join(root, "opt/trireme/bin/trireme"), "--version"])).toMatch(/^\d+\.\d+\.\d+\n$/);

  expect(await make("uninstall")).toMatchObject({ status: 0 });
  expect(await files()).toEqual([]);
});

test("a running program is replaced, and goes on", async () => {
  expect(await make("install")).toMatchObject({ status: 0 });
  const plugin = join(root, "cni/trireme-cni");
  const before = statSync(plugin).ino;
  // ADD waits for its configuration on stdin.
  const running = lab.start(undefined, [plugin], {
    env: { CNI_COMMAND: "ADD", CNI_CONTAINERID: "x", CNI_NETNS: "/proc/1/ns/net", CNI_IFNAME: "eth0" },
  });
  expect(await make("install")).toMatchObject({ status: 0 });
  expect(statSync(plugin).ino).not.toBe(before);
  expect(running.ended).toBe(false);
  running.child.stdin?.end();
  expect(await running.exited).toBe(1);
  expect(JSON.parse(running.stdout)).toMatchObject({ code: 6 });
});

test("uninstall refuses while a conflist names the plugin", async () => {
  expect(await make("install")).toMatchObject({ status: 0 });
  const conflist = join(root, "etc/cni/net.d/10-pods.conflist");
  mkdirSync(join(root, "etc/cni/net.d"), { recursive: true });
  writeFileSync(conflist, readFileSync(join(repository, "install/examples/10-pods.conflist")));
  expect((await make("uninstall")).status).not.toBe(0);
  expect(existsSync(join(root, "cni/trireme-cni"))).toBe(true);
  rmSync(conflist);
  expect(await make("uninstall")).toMatchObject({ status: 0 });
});
