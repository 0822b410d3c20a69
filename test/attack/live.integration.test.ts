/** The same attacks from a pod that two live enforcers look after, and what is left while its enforcer is down. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { closeFd, openNetns } from "../../netlink/netns.ts";
import { Route } from "../../netlink/route.ts";
import { XdpSocket } from "../../netlink/xdp-socket.ts";
import { waitFor } from "../harness/command.ts";
import { execOk, Lab, namespacePath } from "../harness/lab.ts";
import { connect, startEchoServer } from "../harness/traffic.ts";
import { createPair, type Pair } from "../integration/pair.ts";
import { frame, newWord, udpPacket } from "./frames.ts";
import { AttackPrograms, type Watcher } from "./programs.ts";

const PORT = 8080;

describe("a pod with CAP_NET_RAW", () => {
  const lab = new Lab();
  let pair: Pair;
  let programs: AttackPrograms;
  let watcher: Watcher;

  beforeAll(async () => {
    pair = await createPair(lab, { mode: "psk" });
    programs = await AttackPrograms.build(lab);
    watcher = await programs.watch(lab, pair.clientEnforcer.node.namespace);
    await startEchoServer(lab, pair.server.namespace, PORT);
  }, 60_000);
  afterAll(() => lab.close());

  /** A datagram with the pod's own address, to the gateway's hardware address and on to anywhere. */
  async function datagram(word: string): Promise<string> {
    const { client, cluster } = pair;
    const link = await execOk(client.namespace, ["cat", "/sys/class/net/eth0/address"]);
    const gateway = client.address.replace(/\.\d+$/, ".1");
    await connect(client.namespace, pair.server.address, PORT);
    const neighbours = await execOk(client.namespace, ["ip", "neighbour", "show", gateway]);
    const [, toHardware = ""] = /lladdr (\S+)/.exec(neighbours) ?? [];
    const to = cluster.nodes[1]?.address ?? "";
    const ends = { fromHardware: link.trim(), toHardware, from: client.address, to };
    return frame(ends, 0x0800, udpPacket(ends.from, ends.to, word)).toString("hex");
  }

  async function sendFrame(mark: number, bypass: 0 | 1): Promise<boolean> {
    const word = newWord();
    const bytes = await datagram(word);
    await programs.attack(pair.client.namespace, "packet", "eth0", 0x0800, mark, bypass, bytes);
    return watcher.saw(word);
  }

  async function sendXdp(): Promise<{ printed: string; isOut: boolean }> {
    const word = newWord();
    const bytes = await datagram(word);
    const printed = await programs.attack(pair.client.namespace, "xdp", "eth0", 0, bytes);
    return { printed, isOut: await watcher.saw(word) };
  }

  /** As only CAP_NET_ADMIN can read it. */
  async function readSeal(): Promise<number> {
    const list = await execOk(pair.client.namespace, ["nft", "list", "chain", "inet", "trireme", "out"]);
    return Number(/mark set (0x[0-9a-f]+)/.exec(list)?.[1]);
  }

  const warnings = async (): Promise<string> =>
    JSON.stringify((await pair.clientEnforcer.json(["status"]))["warnings"]);

  test.each([0, 1] as const)("sends nothing by a packet socket (bypass %s), seal or not", async (bypass) => {
    expect(await sendFrame(0, bypass)).toBe(false);
    expect(await sendFrame(await readSeal(), bypass)).toBe(false);
  });

  test("finds every queue taken for AF_XDP", async () => {
    expect(await sendXdp()).toEqual({ printed: "memory ok\nbind EBUSY\n", isOut: false });
    expect(await warnings()).not.toMatch(/AF_XDP|packet sockets/);
  });

  test("connects as usual, and what is refused is refused at once", async () => {
    const { client, server } = pair;
    const attempt = await connect(client.namespace, server.address, PORT, { bytes: 10_000 });
    expect(attempt).toMatchObject({ outcome: "connected", echoed: 10_000 });
    expect((await connect(client.namespace, server.address6, PORT)).outcome).toBe("connected");
    expect((await connect(client.namespace, server.address, PORT + 1)).outcome).toBe("refused");
  });

  test("keeps its seal when its rules are flushed", async () => {
    const seal = await readSeal();
    await execOk(pair.client.namespace, ["nft", "flush", "ruleset"]);
    await waitFor("the rules", async () => (await readSeal().catch(() => 0)) === seal, 5_000, 100);
    expect(await sendFrame(0, 0)).toBe(false);
  });

  test("while the enforcer is down: nothing by packet sockets; by AF_XDP it does reach hosts", async () => {
    const { client } = pair;
    const [plain, xdp] = [newWord(), newWord()];
    const unsigned = (await datagram(newWord())).slice(0, -16);
    const hex = (word: string): string => unsigned + Buffer.from(word).toString("hex");
    await pair.clientEnforcer.kill();
    await programs.attack(client.namespace, "packet", "eth0", 0x0800, 0, 0, hex(plain));
    expect(await watcher.saw(plain)).toBe(false);
    expect(await programs.attack(client.namespace, "xdp", "eth0", 0, hex(xdp))).toContain("send ok");
    expect(await watcher.saw(xdp)).toBe(true);
  });

  test("who took a queue meanwhile keeps it, and status says so until it is given back", async () => {
    const { client, clientEnforcer } = pair;
    const netns = openNetns(namespacePath(client.namespace));
    const route = Route.open({ netns });
    const interfaceIndex = route.links().find(({ name }) => name === "eth0")?.index ?? 0;
    route.close();
    // The kernel gives a queue back a moment after its socket is closed.
    const take = (): XdpSocket | undefined => {
      try {
        return XdpSocket.open({ netns, interfaceIndex, queue: 0 });
      } catch {
        return undefined;
      }
    };
    const taken = await waitFor("the queue", () => Promise.resolve(take()), 5_000, 100);
    closeFd(netns);
    await clientEnforcer.start();
    await waitFor("the warning", async () => /AF_XDP.*EBUSY/.test(await warnings()), 5_000, 200);
    taken.close();
    await waitFor("its end", async () => !(await warnings()).includes("AF_XDP"), 6_000, 200);
    expect((await sendXdp()).printed).toContain("bind EBUSY");
  });
});
