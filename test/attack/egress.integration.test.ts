/**
 * What a pod with CAP_NET_RAW sends past the IP stack: it stays inside, and gets out as soon as the rule that holds it back
 * is taken out. Frames are looked for at the other end of the pod's link.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { XdpSocket } from "../../netlink/xdp-socket.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { advertisement, arpAnswer, frame, newWord, udpPacket, type Ends } from "./frames.ts";
import { openings } from "./openings.ts";
import { createPodStage, SEAL, type PodStage } from "./pod-stage.ts";
import { AttackPrograms, type Watcher } from "./programs.ts";

const lab = new Lab();
let stage: PodStage;
let programs: AttackPrograms;
let watcher: Watcher;

beforeAll(async () => {
  stage = await createPodStage(lab);
  programs = await AttackPrograms.build(lab);
  watcher = await programs.watch(lab, stage.neighbour);
}, 60_000);
afterAll(() => lab.close());

interface FrameOptions {
  readonly mark?: number;
  readonly bypass?: boolean;
  /** The protocol that the sender claims. */
  readonly protocol?: number;
}

/** Sends a frame from a packet socket; gives whether it came out. */
async function sendFrame(bytes: Buffer, word: string, options: FrameOptions = {}): Promise<boolean> {
  const { mark = 0, bypass = false, protocol = 0x0800 } = options;
  await programs.attack(stage.pod, "packet", "eth0", protocol, mark, bypass ? 1 : 0, bytes.toString("hex"));
  return watcher.saw(word);
}

/** Sends a packet from a raw socket; gives whether it came out. */
async function sendRaw(packet: Buffer, word: string, mark = 0): Promise<boolean> {
  await programs.attack(stage.pod, "raw", "eth0", mark, packet.toString("hex"));
  return watcher.saw(word);
}

function udpFrame(ends: Ends, word: string, tag?: number): Buffer {
  const type = ends.from.includes(":") ? 0x86dd : 0x0800;
  return frame(ends, type, udpPacket(ends.from, ends.to, word), tag);
}

const word = newWord;
/** By a rule that a frame meets only when those before it are gone, each of them holds it back. */
type Attack = [title: string, holdsBack: (keyof typeof openings)[], attempt: () => Promise<boolean>];

const attacks: Attack[] = [
  ["a packet socket", ["route", "seal"], (w = word()) => sendFrame(udpFrame(stage.ends4, w), w)],
  [
    "a packet socket that bypasses the queueing discipline",
    ["route", "seal"],
    (w = word()) => sendFrame(udpFrame(stage.ends4, w), w, { bypass: true }),
  ],
  [
    "a packet socket with a mark",
    ["route", "seal"],
    (w = word()) => sendFrame(udpFrame(stage.ends4, w), w, { mark: SEAL ^ 1 }),
  ],
  [
    "a packet socket with the seal, guessed",
    ["route"],
    (w = word()) => sendFrame(udpFrame(stage.ends4, w), w, { mark: SEAL }),
  ],
  [
    "a packet socket that bypasses, with the seal, guessed",
    ["route"],
    (w = word()) => sendFrame(udpFrame(stage.ends4, w), w, { mark: SEAL, bypass: true }),
  ],
  [
    "a packet socket with IPv6",
    ["route", "seal"],
    (w = word()) => sendFrame(udpFrame(stage.ends6, w), w, { protocol: 0x86dd }),
  ],
  [
    "a packet socket with a VLAN tag",
    ["route", "seal", "source"],
    (w = word()) => sendFrame(udpFrame(stage.ends4, w, 7), w, { protocol: 0x8100 }),
  ],
  [
    "an IP frame that is called ARP",
    ["arp"],
    (w = word()) => sendFrame(udpFrame(stage.ends4, w), w, { protocol: 0x0806 }),
  ],
  [
    "ARP with another's address",
    ["arp"],
    (w = word()) => sendFrame(arpAnswer({ ...stage.ends4, from: "10.9.0.3" }, w), w, { protocol: 0x0806 }),
  ],
  [
    "a neighbour advertisement for another, from a packet socket",
    ["route", "seal", "source"],
    (w = word()) => {
      const bytes = frame(stage.ends6, 0x86dd, advertisement("fd09::3", stage.ends6.to, w));
      return sendFrame(bytes, w, { protocol: 0x86dd });
    },
  ],
  [
    "a neighbour advertisement for another, from a raw socket",
    ["source"],
    (w = word()) => sendRaw(advertisement("fd09::3", stage.ends6.to, w), w),
  ],
  [
    "a neighbour advertisement with another's link-local address",
    ["source"],
    (w = word()) => sendRaw(advertisement("fe80::3", stage.ends6.to, w), w),
  ],
  [
    "a raw socket with another's IPv4 address, of a policy that allows it",
    ["source"],
    (w = word()) => sendRaw(udpPacket("10.9.0.3", stage.ends4.to, w), w),
  ],
  [
    "the same with the seal as its mark",
    ["source"],
    (w = word()) => sendRaw(udpPacket("10.9.0.3", stage.ends4.to, w), w, SEAL),
  ],
  [
    "a raw socket with another's IPv6 address",
    ["source"],
    (w = word()) => sendRaw(udpPacket("fd09::3", stage.ends6.to, w), w),
  ],
];

describe.each(attacks)("%s", (_, holdsBack, attempt) => {
  test("stays inside", async () => {
    stage.install(stage.tables);
    expect(await attempt()).toBe(false);
  });

  test(`gets out without: ${holdsBack.join(", ")}`, async () => {
    stage.install(holdsBack.reduce((tables, name) => openings[name](tables), [...stage.tables]));
    expect(await attempt()).toBe(true);
  });

  if (holdsBack.length === 1) return;
  test.each(holdsBack)("stays inside if only %s holds it back", async (kept) => {
    const gone = holdsBack.filter((name) => name !== kept);
    stage.install(gone.reduce((tables, name) => openings[name](tables), [...stage.tables]));
    expect(await attempt()).toBe(false);
  });
});

describe("the seal", () => {
  const readMark = (): Promise<string> => programs.attack(stage.pod, "read-mark", stage.ends4.from);

  test("is not on the copy of a multicast that comes back", async () => {
    stage.install(stage.tables);
    expect(await readMark()).toMatch(/^received 0x00000000$/m);
  });

  test("is there without the rule that clears it", async () => {
    stage.install(openings.clearing(stage.tables));
    const [, mark = ""] = /^received (0x[0-9a-f]{8})$/m.exec(await readMark()) ?? [];
    expect(Number(mark) & 0x000fffff).toBe(SEAL & 0x000fffff);
  });
});

describe("the mark by which the reader lets a packet out, seal and all, on a socket", () => {
  const mark = ((SEAL & 0x000fffff) | 0x5ff00000) >>> 0;
  const attempt = (w = word()) => sendRaw(udpPacket(stage.ends4.from, stage.ends4.to, w), w, mark);
  beforeAll(() => stage.judge("drop"));
  afterAll(() => stage.judge("accept"));

  test("lets nothing out", async () => {
    stage.install(stage.tables);
    expect(await attempt()).toBe(false);
  });

  test("does without the rule that clears it", async () => {
    stage.install(openings.socketMarks(stage.tables));
    expect(await attempt()).toBe(true);
  });
});

describe("AF_XDP", () => {
  const attempt = async (): Promise<{ printed: string; isOut: boolean }> => {
    const w = word();
    const bytes = udpFrame({ ...stage.ends4, from: "10.9.0.3" }, w).toString("hex");
    return {
      printed: await programs.attack(stage.pod, "xdp", "eth0", 0, bytes),
      isOut: await watcher.saw(w),
    };
  };

  test("finds the queue taken, and passes all rules without that", async () => {
    stage.install(stage.tables);
    const held = XdpSocket.open({ netns: stage.netnsFd, interfaceIndex: stage.interfaceIndex, queue: 0 });
    expect(await attempt()).toEqual({ printed: "memory ok\nbind EBUSY\n", isOut: false });
    held.close();
    // The kernel gives a queue back a moment after its socket is closed.
    const free = { printed: "memory ok\nbind ok\nsend ok\n", isOut: true };
    await expect.poll(attempt, { timeout: 3_000 }).toEqual(free);
  });
});

describe("what a pod without such intentions sends", () => {
  test.each([
    ["10.9.0.2", "10.9.0.1"],
    ["fd09::2", "fd09::1"],
  ])("from %s goes out, unmarked or marked", async (from, to) => {
    stage.install(stage.tables);
    for (const mark of [0, 0x539]) {
      const w = word();
      expect(await sendRaw(udpPacket(from, to, w), w, mark)).toBe(true);
    }
  });

  test("goes on when the link went down and up: ARP, ND and MLD are the kernel's", async () => {
    stage.install(stage.tables);
    await execOk(stage.pod, ["ip", "link", "set", "eth0", "down"]);
    await execOk(stage.pod, ["ip", "link", "set", "eth0", "up"]);
    await execOk(stage.pod, ["ip", "address", "add", "fd09::2/64", "dev", "eth0", "nodad"]);
    for (const namespace of [stage.pod, stage.neighbour])
      await execOk(namespace, ["ip", "neighbour", "flush", "dev", "eth0"]);
    for (const { from, to } of [stage.ends4, stage.ends6]) {
      const w = word();
      expect(await sendRaw(udpPacket(from, to, w), w)).toBe(true);
    }
  });

  test("of a nested namespace, with source NAT, too", async () => {
    stage.install(stage.tables);
    const inner = await lab.addNamespace("inner");
    await lab.addVeth({ namespace: stage.pod, name: "inner0" }, { namespace: inner, name: "eth0" });
    await execOk(stage.pod, ["ip", "address", "add", "172.31.0.1/24", "dev", "inner0"]);
    await execOk(stage.pod, ["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    await execOk(inner, ["ip", "address", "add", "172.31.0.2/24", "dev", "eth0"]);
    await execOk(inner, ["ip", "route", "add", "default", "via", "172.31.0.1"]);
    const nat = `table ip nat { chain post { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }; }`;
    await execOk(stage.pod, ["nft", nat]);
    const w = word();
    const packet = udpPacket("172.31.0.2", "10.9.0.1", w);
    await programs.attack(inner, "raw", "eth0", 0, packet.toString("hex"));
    expect(await watcher.saw(w)).toBe(true);
  });
});
