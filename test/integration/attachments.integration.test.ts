/** Two attachments of one pod: two processing units behind the queues of one namespace. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cniPluginFolder, repository } from "../harness/binaries.ts";
import { CniChain, type Attachment, type JsonObject, type PluginEntry } from "../harness/cni-chain.ts";
import { waitFor } from "../harness/command.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { connect, startEchoServer } from "../harness/traffic.ts";
import { createPair, type Pair } from "./pair.ts";

const PORT = 8080;
const SECOND = "10.244.101";

describe("a second interface of the same pod", () => {
  const lab = new Lab();
  let pair: Pair;
  let chain: CniChain;
  let attachment: Attachment;
  let result: JsonObject;

  const units = async (): Promise<{ id: string; ifname: string }[]> =>
    (await pair.serverEnforcer.json(["status"]))["pus"] as { id: string; ifname: string }[];
  const attached = async (): Promise<string[]> => (await units()).map(({ ifname }) => ifname).sort();
  const idOf = async (ifname: string): Promise<string> =>
    (await units()).find((unit) => unit.ifname === ifname)?.id ?? "?";
  const rules = (): Promise<string> => execOk(pair.server.namespace, ["nft", "list", "ruleset"]);
  /** host-local gives another address each time. */
  const second = (): string => (result["ips"] as { address: string }[])[0]?.address.split("/")[0] ?? "?";
  /** From the node itself, which has no identity. */
  const fromStranger = async (address: string): Promise<string> => {
    const { namespace } = pair.serverEnforcer.node;
    return (await connect(namespace, address, PORT, { timeoutMs: 700 })).outcome;
  };

  beforeAll(async () => {
    pair = await createPair(lab, { mode: "psk" });
    const { server, serverEnforcer } = pair;
    const { node } = serverEnforcer;
    await startEchoServer(lab, server.namespace, PORT);
    const ipam = {
      type: "host-local",
      dataDir: join(node.folder, "ipam"),
      ranges: [[{ subnet: `${SECOND}.0/24` }]],
    };
    const plugins = [
      { type: "ptp", ipMasq: false, ipam },
      { type: "trireme-cni", socket: node.socket },
    ];
    const folders = [join(repository, "build"), cniPluginFolder];
    chain = new CniChain({ cniVersion: "1.0.0", name: "second", plugins }, node.namespace, folders);
    attachment = { ...server.attachment, ifname: "net1" };
    result = await chain.add(attachment);
  }, 60_000);
  afterAll(() => lab.close());

  test("is a unit of its own, and both pass CHECK", async () => {
    const { pus } = await pair.serverEnforcer.json(["status"]);
    const names = (pus as { network: string; ifname: string }[]).map((pu) => `${pu.network} ${pu.ifname}`);
    expect(names.sort()).toEqual(["pods eth0", "second net1"]);
    await chain.check(attachment, result);
    await pair.server.check();
  });

  test("is closed to whoever has no identity", async () => {
    expect(await fromStranger(second())).toBe("timeout");
  });

  test("stays closed after a restart with a registry that has lost it", async () => {
    const { client, server, serverEnforcer } = pair;
    const lost = await idOf("net1");
    await serverEnforcer.stop();
    const records = readdirSync(serverEnforcer.stateFolder, { recursive: true, encoding: "utf8" });
    const files = records.filter((file) => file.includes(lost));
    expect(files).not.toEqual([]);
    for (const file of files) rmSync(join(serverEnforcer.stateFolder, file));
    await serverEnforcer.start();
    await server.exec(["nft", "insert", "rule", "inet", "trireme", "in", "accept"]);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(await fromStranger(second())).toBe("timeout");
    await server.check();
    expect((await connect(client.namespace, server.address, PORT)).outcome).toBe("connected");
  }, 30_000);

  test("leaves the first one working, before and after its DEL", async () => {
    const { client, server } = pair;
    expect((await connect(client.namespace, server.address, PORT)).outcome).toBe("connected");
    await chain.del(attachment, result);
    await server.check();
    expect((await connect(client.namespace, server.address, PORT)).outcome).toBe("connected");
    expect(await attached()).toEqual(["eth0"]);
  });

  test("is closed from our DEL until its link is gone, without an enforcer as well, and can come back", async () => {
    const { server, serverEnforcer } = pair;
    const [ptp, ours] = chain.list.plugins as [PluginEntry, PluginEntry];
    const leave = async (): Promise<void> => {
      expect((await chain.run("DEL", ours, attachment, result)).status).toBe(0);
      expect(await rules()).toContain("closed_net1");
      expect(await fromStranger(second())).toBe("timeout");
    };
    result = await chain.add(attachment);
    await leave();
    // The guard has looked at it, and agreed.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(await rules()).toContain("closed_net1");
    // Its address is no source of the pod's any more, so it doesn't answer ARP either.
    expect(["timeout", "unreachable"]).toContain(await fromStranger(second()));
    await server.check();
    await chain.run("DEL", ptp, attachment, result);
    await waitFor("the guard", async () => !(await rules()).includes("net1"), 5_000, 100);
    await server.check();

    result = await chain.add(attachment);
    await serverEnforcer.kill();
    await leave();
    await chain.run("DEL", ptp, attachment, result);
    expect(await rules()).toContain("closed_net1");
    await serverEnforcer.start();
    result = await chain.add(attachment);
    expect(await rules()).not.toContain("closed_net1");
    await chain.check(attachment, result);
    await server.check();
    expect(serverEnforcer.log).not.toContain("rules had been altered");
  }, 60_000);

  test.each([["its enforcer"], ["the registry of a dead one"]])(
    "is opened alone by a release by %s: the first one is not without rules for a moment",
    async (by) => {
      const { client, server, serverEnforcer } = pair;
      expect(await attached()).toEqual(["eth0", "net1"]);
      const isAlive = by === "its enforcer";
      const id = await idOf("net1");
      if (!isAlive) await serverEnforcer.kill();
      const monitor = lab.start(server.namespace, ["nft", "monitor"]);
      await waitFor("nft monitor", async () => {
        await execOk(server.namespace, ["nft", "add", "table", "inet", "probe"]);
        await execOk(server.namespace, ["nft", "delete", "table", "inet", "probe"]);
        return monitor.stdout.includes("delete table inet probe");
      });
      const released = await serverEnforcer.trireme([
        ...["release", id, "--yes", "--state", serverEnforcer.stateFolder],
      ]);
      expect([released.status, released.stdout]).toEqual([0, `released ${id}\n`]);
      await waitFor("the new table", () => monitor.stdout.includes("add table inet trireme"));
      await monitor.stop();
      const [open = "?"] = monitor.stdout.split("delete table inet trireme").slice(1);
      expect(open.split("add table inet trireme")[0]).not.toContain("# new generation");

      expect(await fromStranger(second())).toBe("connected");
      expect(await fromStranger(server.address)).toBe("timeout");
      expect(await rules()).not.toContain("net1");
      if (!isAlive) await serverEnforcer.start();
      await server.check();
      expect(await attached()).toEqual(["eth0"]);
      expect((await connect(client.namespace, server.address, PORT)).outcome).toBe("connected");
      expect(serverEnforcer.log).not.toContain("rules had been altered");
      await chain.del(attachment, result);
      if (isAlive) result = await chain.add(attachment);
    },
    60_000,
  );

  test("was the last but one: a release of the first takes the tables away", async () => {
    const { server, serverEnforcer } = pair;
    expect((await serverEnforcer.trireme(["release", await idOf("eth0"), "--yes"])).status).toBe(0);
    expect(await rules()).toBe("");
    expect(await fromStranger(server.address)).toBe("connected");
  });
});
