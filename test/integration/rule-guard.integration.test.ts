/** Rules that are altered from inside a running pod, and an interface that is renamed. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { execOk, Lab } from "../harness/lab.ts";
import { waitFor } from "../harness/command.ts";
import { connect, startEchoServer } from "../harness/traffic.ts";
import { createPair, type Pair } from "./pair.ts";

const PORT = 8080;

const madeUpOwner =
  "add chain inet trireme pu_0123456789abcdef_longer-than-any-interface; insert rule inet trireme in accept";

describe("the rules of a running pod", () => {
  const lab = new Lab();
  let pair: Pair;
  const rules = (): Promise<string> => execOk(pair.server.namespace, ["nft", "list", "ruleset"]);
  const timesPutBack = async (): Promise<number> => {
    const { warnings } = await pair.serverEnforcer.json(["status"]);
    const [, times = "0"] =
      /its rules were altered from outside and put back, (\d+) times/.exec(JSON.stringify(warnings)) ?? [];
    return Number(times);
  };

  beforeAll(async () => {
    pair = await createPair(lab, { mode: "psk" });
    await startEchoServer(lab, pair.server.namespace, PORT);
  }, 60_000);
  afterAll(() => lab.close());

  test.each([
    ["are flushed", ["nft", "flush", "ruleset"]],
    ["lose their table", ["nft", "delete", "table", "inet", "trireme"]],
    ["lose the rules of a chain", ["nft", "flush", "chain", "inet", "trireme", "in"]],
    ["get a rule that opens", ["nft", "insert", "rule", "inet", "trireme", "in", "accept"]],
    ["get a chain as of another attachment, with no interface's name", ["nft", madeUpOwner]],
  ])("when they %s, they are put back, and status says so", async (_, command) => {
    const before = await rules();
    const alreadyPutBack = await timesPutBack();
    await execOk(pair.server.namespace, command);
    // Altered rules may be gone before anyone can list them: the enforcer's count says that they were there.
    await waitFor("the repair", async () => (await timesPutBack()) === alreadyPutBack + 1, 5_000, 100);
    expect(await rules()).toBe(before);
    expect((await connect(pair.client.namespace, pair.server.address, PORT)).outcome).toBe("connected");
    expect((await connect(pair.cluster.router, pair.server.address, PORT, { timeoutMs: 500 })).outcome).toBe(
      "timeout",
    );
  });

  test("they follow an interface that is renamed", async () => {
    const { server, client } = pair;
    const rename = async (from: string, to: string): Promise<void> => {
      await execOk(server.namespace, ["ip", "link", "set", from, "down"]);
      await execOk(server.namespace, ["ip", "link", "set", from, "name", to]);
      await execOk(server.namespace, ["ip", "link", "set", to, "up"]);
      const gateway = server.address.replace(/\.\d+$/, ".1");
      await execOk(server.namespace, ["ip", "route", "replace", `${gateway}/32`, "dev", to]);
      await execOk(server.namespace, ["ip", "route", "replace", "default", "via", gateway]);
    };
    await rename("eth0", "moved0");
    await waitFor("the rules", async () => (await rules()).includes('iifname != "moved0"'), 5_000, 100);
    expect((await connect(client.namespace, server.address, PORT)).outcome).toBe("connected");
    expect((await connect(pair.cluster.router, server.address, PORT, { timeoutMs: 500 })).outcome).toBe(
      "timeout",
    );
    await rename("moved0", "eth0");
    await waitFor("the rules", async () => (await rules()).includes('iifname != "eth0"'), 5_000, 100);
  });
});
