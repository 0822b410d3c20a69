/** Two attachments of one pod: two processing units behind the queues of one namespace. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cniPluginFolder, repository } from "../harness/binaries.ts";
import { CniChain, type Attachment, type JsonObject } from "../harness/cni-chain.ts";
import { Lab } from "../harness/lab.ts";
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
    const node = pair.serverEnforcer.node.namespace;
    expect((await connect(node, `${SECOND}.2`, PORT, { timeoutMs: 700 })).outcome).toBe("timeout");
  });

  test("stays closed after a restart with a registry that has lost it", async () => {
    const { client, server, serverEnforcer } = pair;
    const { pus } = await serverEnforcer.json(["status"]);
    const lost = (pus as { id: string; ifname: string }[]).find(({ ifname }) => ifname === "net1")?.id ?? "?";
    await serverEnforcer.stop();
    const records = readdirSync(serverEnforcer.stateFolder, { recursive: true, encoding: "utf8" });
    const files = records.filter((file) => file.includes(lost));
    expect(files).not.toEqual([]);
    for (const file of files) rmSync(join(serverEnforcer.stateFolder, file));
    await serverEnforcer.start();
    await server.exec(["nft", "insert", "rule", "inet", "trireme", "in", "accept"]);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const node = serverEnforcer.node.namespace;
    expect((await connect(node, `${SECOND}.2`, PORT, { timeoutMs: 700 })).outcome).toBe("timeout");
    await server.check();
    expect((await connect(client.namespace, server.address, PORT)).outcome).toBe("connected");
  }, 30_000);

  test("leaves the first one working, before and after its DEL", async () => {
    const { client, server } = pair;
    expect((await connect(client.namespace, server.address, PORT)).outcome).toBe("connected");
    await chain.del(attachment, result);
    await server.check();
    expect((await connect(client.namespace, server.address, PORT)).outcome).toBe("connected");
    const { pus } = await pair.serverEnforcer.json(["status"]);
    expect(pus).toMatchObject([{ ifname: "eth0" }]);
  });
});
