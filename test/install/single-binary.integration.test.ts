/** The built programs stand alone: copied out of reach of node_modules, with next to no environment, from a folder that is gone. */
import { copyFileSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import { pluginBinary, triremeBinary } from "../harness/binaries.ts";
import { run } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";

const lab = new Lab();
const copies = new Map<string, string>();
beforeAll(() => {
  for (const binary of [pluginBinary(), triremeBinary()]) {
    const copy = join(lab.folder, basename(binary));
    copyFileSync(binary, copy);
    copies.set(basename(binary), copy);
  }
});
afterAll(() => lab.close());

describe.each(["trireme-cni", "trireme"])("%s", (name) => {
  const binary = () => copies.get(name) ?? "";

  test("knows its version and its usage", async () => {
    const version = await run([binary(), "--version"], { env: {}, cwd: "/" });
    expect(version).toMatchObject({ status: 0, stderr: "" });
    expect(version.stdout).toContain(packageJson.version);
    expect(await run([binary(), "--help"], { env: {} })).toMatchObject({ status: 0, stderr: "" });
  });

  test("runs in a folder that is gone", async () => {
    const folder = join(lab.folder, "gone");
    mkdirSync(folder, { recursive: true });
    const script = 'cd "$1" && rmdir "$1" && exec "$2" --version';
    expect(await run(["/bin/sh", "-c", script, "sh", folder, binary()], { env: {} })).toMatchObject({
      status: 0,
    });
  });
});

test("trireme-cni loads its addon with an environment of CNI_* alone", async () => {
  const env = {
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "x",
    CNI_NETNS: "/proc/self/ns/net",
    CNI_IFNAME: "eth0",
  };
  const previous = {
    cniVersion: "1.0.0",
    interfaces: [{ name: "eth0", sandbox: "/proc/self/ns/net" }],
    ips: [{ address: "10.0.0.2/24", interface: 0 }],
  };
  const config = {
    cniVersion: "1.0.0",
    name: "n",
    type: "trireme-cni",
    prevResult: previous,
  };
  const result = await run([copies.get("trireme-cni") ?? ""], { env, input: JSON.stringify(config) });
  // It opened the namespace, and saw that it is its own.
  expect(result.status).toBe(1);
  expect(JSON.parse(result.stdout)).toMatchObject({ code: 8 });
});
