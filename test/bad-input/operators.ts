/** Bad input from a node's operators and plugins: the control socket, policies, configurations, namespaces, a full disk. */
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { LineClient } from "../control/line-client.ts";
import { triremeBinary } from "../harness/binaries.ts";
import type { JsonObject } from "../harness/cni-chain.ts";
import { run, waitFor } from "../harness/command.ts";
import { namespacePath } from "../harness/lab.ts";
import { connect } from "../harness/traffic.ts";
import {
  brokenPolicy,
  crowd,
  expectAuthorised,
  expectFewASecond,
  mendPolicy,
  PORT,
  refusePolicy,
} from "./actions.ts";
import { growth, type Stage } from "./stage.ts";

const brokenTexts = ["", "\0\u0001", "version: 1\npolicies: [", "[".repeat(1_000), "a: &a [*a, *a]\n"];
const LOG_LINES = 2_000;

/** What the control socket hears. `stage` may be called in tests only. */
export function testControlSocket(stage: () => Stage): void {
  describe("the control socket", () => {
    const refusedBy = (code: number): string => `trireme_control_refused_total{code="${code}"}`;

    test.each<[string, string | Buffer, number]>([
      ["garbage", Buffer.from([0xff, 0xfe, 0x00, 0x0a]), 100],
      ["nothing", "\n", 100],
      ["half a message", '{"version":1,"op":"del"\n', 100],
      ["another version", '{"version":7,"op":"status"}\n', 101],
      ["an unknown op", '{"version":1,"op":"constructor"}\n', 100],
      ["deep nesting", `${"[".repeat(200_000)}\n`, 100],
      ["a line without an end", "x".repeat(1024 * 1024 + 2), 100],
    ])("%s", async (_, bytes, code) => {
      const before = await stage().metrics();
      const hostile = await LineClient.open(stage().enforcer.socket);
      hostile.socket.write(bytes);
      expect(await hostile.next()).toMatchObject({ ok: false, error: { code } });
      hostile.close();
      expect(growth(before, await stage().metrics())[refusedBy(code)]).toBe(1);
    });

    test("a thousand connections, of which none says anything", async () => {
      const before = await stage().metrics();
      await crowd(stage());
      expect(growth(before, await stage().metrics())[refusedBy(11)]).toBeGreaterThanOrEqual(1_000 - 512);
      const lines = stage().logged("control connection refused");
      expect(lines.length).toBeGreaterThan(0);
      expectFewASecond(lines);
      await expectAuthorised(stage());
    });

    test("two thousand log lines of a plugin: few are written, and what is left out is counted", async () => {
      const client = await LineClient.open(stage().enforcer.socket);
      const line = `${JSON.stringify({ version: 1, op: "log", level: "warn", message: "again", fields: {} })}\n`;
      client.send(line.repeat(LOG_LINES));
      for (let count = 0; count < LOG_LINES; count += 1)
        expect(await client.next()).toMatchObject({ ok: true });
      client.close();
      const written = (): JsonObject[] =>
        stage()
          .logged("plugin")
          .filter(({ text }) => text === "again");
      const leftOut = (): number =>
        stage()
          .logged("log lines left out")
          .filter(({ of }) => of === "plugin")
          .reduce((sum, { count }) => sum + Number(count), 0);
      await waitFor("the count", () => written().length + leftOut() === LOG_LINES);
      expectFewASecond(written());
    });
  });
}

/** Policies and configurations. `stage` may be called in tests only. */
export function testFiles(stage: () => Stage): void {
  test("a policy with an error: the one before stays, the error names line, rule and remedy", async () => {
    const before = await stage().metrics();
    await refusePolicy(stage(), brokenPolicy);
    const problems = stage()
      .logged("policy problem")
      .map(({ problem }) => problem as string);
    expect(problems.at(-1)).toMatch(/policy\.yaml:5:.*broken\/in.*port/s);
    for (const text of brokenTexts) await refusePolicy(stage(), text);
    await expectAuthorised(stage());
    const grown = growth(before, await stage().metrics());
    expect(grown['trireme_reloads_refused_total{what="policy"}']).toBe(1 + brokenTexts.length);
    expect(grown["trireme_policy_generation"]).toBeUndefined();
    const warnings = async (): Promise<unknown> => (await stage().enforcer.json(["status"]))["warnings"];
    const isKept = expect.stringContaining("policy.yaml is wrong, the one before stays in force") as unknown;
    expect(await warnings()).toEqual([isKept]);
    await mendPolicy(stage());
    expect(await warnings()).toEqual([]);
  });

  test.each<[string, string, RegExp]>([
    ["no YAML", "version: [", /enforcer.*:1:/],
    ["an unknown key", "version: 1\nmode: psk\nopen: true\n", /:3:.*open/s],
    ["no trust domain", "version: 1\nmode: psk\n", /trustDomain/],
    ["a missing file", "", /cannot be read|is missing|trustDomain/],
  ])("a configuration with %s is told, and starts nothing", async (name, text, message) => {
    const file = join(stage().lab.folder, "broken-enforcer.yaml");
    if (name === "a missing file") rmSync(file, { force: true });
    else writeFileSync(file, text);
    const argv = [
      triremeBinary(),
      "enforcer",
      "--config",
      file,
      "--socket",
      join(stage().lab.folder, "other", "e.sock"),
    ];
    const { status, stderr } = await run(argv);
    expect([status === 0, stderr]).toEqual([false, expect.stringMatching(message)]);
  });
}

/** What an ADD may claim. `stage` may be called in tests only. */
export function testNamespaces(stage: () => Stage): void {
  describe("namespaces", () => {
    const key = { network: "pods", containerId: "bad", ifname: "eth0" };

    /** As the plugin would, had it been fooled. */
    async function claim(changes: object): Promise<unknown> {
      const client = await LineClient.open(stage().enforcer.socket);
      const addresses = [{ address: "10.244.2.99", prefixLength: 24 }];
      const request = { ...key, addresses, netnsCookie: "1", attributes: {}, pluginVersion: "0" };
      const answer = await client.ask({ op: "add", ...request, ...changes });
      client.close();
      return answer;
    }

    test("missing, foreign, or none at all: ADD is refused with its code, and nothing is registered", async () => {
      const before = await stage().metrics();
      const { server } = stage();
      const codes: unknown[] = [];
      for (const netnsPath of [
        "/run/netns/not-there",
        "/etc/passwd",
        "/proc/self/ns/mnt",
        "/",
        namespacePath(server.namespace),
      ])
        codes.push(await claim({ netnsPath }));
      codes.push(await claim({ netnsPath: namespacePath(stage().enforcer.node.namespace) }));
      const code = (value: number): unknown =>
        expect.objectContaining({ ok: false, error: expect.objectContaining({ code: value }) as unknown });
      expect(codes).toEqual([...Array<unknown>(5).fill(code(104)), code(8)]);
      const grown = growth(before, await stage().metrics());
      expect(grown['trireme_cni_requests_total{verb="ADD",code="104"}']).toBe(5);
      expect(grown['trireme_cni_requests_total{verb="ADD",code="8"}']).toBe(1);
      expect((await stage().enforcer.json(["status"]))["pus"]).toHaveLength(1);
    });

    test("missing: the plugin says so", async () => {
      const { chain, attachment, result } = stage().server;
      const ours = chain.list.plugins.find(({ type }) => type === "trireme-cni");
      if (ours === undefined) throw new Error("the plugin is not in the list");
      const missing = { ...attachment, containerId: "bad", netnsPath: "/run/netns/not-there" };
      const { status, stdout } = await chain.run("ADD", ours, missing, result);
      expect([status === 0, JSON.parse(stdout)]).toEqual([false, expect.objectContaining({ code: 8 })]);
    });
  });
}

/** The registry has no room. `stage` may be called in tests only. */
export function testFullDisk(stage: () => Stage): void {
  test("a full disk: ADD fails with its code, no part of the pod stays, and with room it succeeds", async () => {
    const { enforcer, lab, server } = stage();
    const filler = join(enforcer.stateFolder, "filler");
    const files = (): string[] => readdirSync(enforcer.stateFolder).sort();
    const before = files();
    spawnSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=4096"]);
    const namespace = await lab.addNamespace("crowded");
    const attachment = { ...server.attachment, containerId: "crowded", netnsPath: namespacePath(namespace) };
    await expect(server.chain.add(attachment)).rejects.toMatchObject({ plugin: "trireme-cni", code: 105 });
    expect(files()).toEqual([...before, "filler"].sort());
    expect((await enforcer.json(["status"]))["pus"]).toHaveLength(1);
    expect(stage().logged("control request refused").at(-1)).toMatchObject({
      op: "enforce",
      code: 105,
      problem: expect.stringContaining("ENOSPC") as unknown,
    });
    // It has an address and a route, and no identity.
    const attempt = await connect(namespace, server.address, PORT, { timeoutMs: 500 });
    expect(attempt).not.toMatchObject({ outcome: "connected" });
    await server.chain.del(attachment);
    await expectAuthorised(stage());
    rmSync(filler);
    const result = await server.chain.add(attachment);
    await server.chain.check(attachment, result);
    expect((await connect(namespace, server.address, PORT)).outcome).toBe("connected");
    await server.chain.del(attachment, result);
    await lab.removeNamespace(namespace);
    expect(files()).toEqual(before);
  });
}
