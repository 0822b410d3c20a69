/** The plugin with every edge in memory: orders of events, undoing, logs, defects. */
import { describe, expect, it } from "vitest";
import { encodeError } from "../../enforcer/control/messages.ts";
import { CniError } from "../../plugin/cni-error.ts";
import { ruleOwners } from "../../plugin/rule-owners.ts";
import { createWorld } from "./fakes.ts";
import type { World } from "./fakes.ts";

const env = (verb: string): Record<string, string> => ({
  CNI_COMMAND: verb,
  CNI_CONTAINERID: "c1",
  CNI_NETNS: "/run/netns/c1",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin",
});

const result = {
  cniVersion: "1.1.0",
  interfaces: [{ name: "eth0", sandbox: "/run/netns/c1" }],
  ips: [{ address: "10.1.0.2/24", interface: 0 }],
};
const config = (members: object = {}): string =>
  JSON.stringify({ cniVersion: "1.1.0", name: "pods", type: "trireme-cni", prevResult: result, ...members });

const ops = ({ control }: World): string[] => control.requests.map(({ op }) => op);

function parseError(stdout: string): { code: number; msg: string } {
  return JSON.parse(stdout) as { code: number; msg: string };
}

describe("ADD", () => {
  it("adds, installs, then enforces, on one connection", async () => {
    const world = createWorld();
    expect(await world.attempt(env("ADD"), config())).toEqual({
      exitCode: 0,
      stdout: `${JSON.stringify(result)}\n`,
    });
    expect(ops(world)).toEqual(["add", "enforce"]);
    expect(world.control.openConnections).toBe(0);
    expect(ruleOwners(world.namespace.readRules().inet)).toHaveLength(1);
    expect(world.namespace.isClosed).toBe(true);
  });

  it.each(["replaceRules", "readRules", "writeSysctl"] as const)(
    "undoes everything when %s fails",
    async (method) => {
      const world = createWorld();
      world.namespace.fail.add(method);
      const { exitCode, stdout } = await world.attempt(env("ADD"), config());
      expect([exitCode, parseError(stdout).code]).toEqual([1, 111]);
      expect(ops(world)).toEqual(["add", "log"]);
      expect(world.namespace.tables).toEqual([]);
    },
  );

  it("undoes the rules when the enforcer refuses to enforce", async () => {
    const world = createWorld();
    world.control.reply = ({ op }) =>
      op === "enforce" ? encodeError({ code: 105, message: "no" }) : undefined;
    expect((await world.attempt(env("ADD"), config())).exitCode).toBe(1);
    expect(world.namespace.tables).toEqual([]);
    expect([...world.namespace.sysctls.values()].filter((value) => value !== "60")).toEqual([]);
  });

  it("refuses rules that read back otherwise", async () => {
    const world = createWorld();
    world.namespace.replaceRules = (tables) => {
      world.namespace.tables = tables.map((table) => ({ ...table, chains: table.chains.slice(1) }));
    };
    expect(parseError((await world.attempt(env("ADD"), config())).stdout).code).toBe(111);
    expect(ops(world)).not.toContain("enforce");
  });

  it("logs its failure, with pod and cause, and without the configuration", async () => {
    const world = createWorld();
    world.control.reply = ({ op }) =>
      op === "add" ? encodeError({ code: 105, message: "cause" }) : undefined;
    await world.attempt(
      { ...env("ADD"), CNI_ARGS: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web" },
      config({ token: "secret" }),
    );
    const log = world.control.requests.find(({ op }) => op === "log");
    expect(log).toMatchObject({
      level: "error",
      message: expect.stringContaining("ADD of pod shop/web (container c1, eth0") as string,
    });
    expect(JSON.stringify(log)).not.toContain("secret");
  });
});

describe("DEL", () => {
  it("tells the enforcer first, then takes the rules out", async () => {
    const world = createWorld();
    await world.attempt(env("ADD"), config());
    const remove = world.namespace.removeRules.bind(world.namespace);
    world.namespace.removeRules = () => {
      expect(ops(world)).toContain("del");
      remove();
    };
    expect(await world.attempt(env("DEL"), config())).toEqual({ exitCode: 0, stdout: "" });
    expect(world.namespace.tables).toEqual([]);
  });

  it.each(["readRules", "removeRules"] as const)("succeeds and logs when %s fails", async (method) => {
    const world = createWorld();
    await world.attempt(env("ADD"), config());
    world.namespace.fail.add(method);
    expect(await world.attempt(env("DEL"), config())).toEqual({ exitCode: 0, stdout: "" });
    expect(ops(world)).toEqual(["add", "enforce", "del", "log"]);
  });

  it("succeeds whatever the enforcer answers", async () => {
    const world = createWorld();
    world.control.reply = () => encodeError({ code: 105, message: "disk full" });
    expect(await world.attempt(env("DEL"), config())).toEqual({ exitCode: 0, stdout: "" });
  });

  it("succeeds when its time is over", async () => {
    let calls = 0;
    const stuckOnce = (): Promise<never> =>
      calls++ === 0 ? new Promise(() => undefined) : Promise.reject(new CniError("tryLater", "away"));
    const world = createWorld({ connect: stuckOnce });
    expect(await world.attempt(env("DEL"), config(), 4999)).toEqual({ exitCode: 0, stdout: "" });
  });

  it("never opens its own namespace", async () => {
    const world = createWorld({
      isOwnNamespace: () => true,
      openNamespace: () => {
        throw new CniError("internal", "opened");
      },
    });
    expect(await world.attempt(env("DEL"), config())).toEqual({ exitCode: 0, stdout: "" });
    expect(ops(world)).toEqual(["del"]);
  });
});

describe("defects", () => {
  it.each(["ADD", "CHECK"])("of %s are code 999 and name only their class", async (verb) => {
    const world = createWorld({
      openNamespace: () => {
        throw new TypeError("secret of the configuration");
      },
    });
    const { exitCode, stdout } = await world.attempt(env(verb), config());
    expect([exitCode, parseError(stdout).code]).toEqual([1, 999]);
    expect(stdout).toContain("TypeError");
    expect(stdout).not.toContain("secret");
  });
});

describe("asking verbs", () => {
  it.each(["STATUS", "CHECK"])("%s leaves no log", async (verb) => {
    const world = createWorld();
    world.control.reply = () => encodeError({ code: 50, message: "not ready" });
    expect((await world.attempt(env(verb), config())).exitCode).toBe(1);
    expect(ops(world)).toEqual([verb.toLowerCase()]);
  });

  it("give code 5 for input that can't be read", async () => {
    expect(parseError((await createWorld().attempt(env("STATUS"), undefined)).stdout).code).toBe(5);
  });
});
