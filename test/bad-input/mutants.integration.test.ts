/** Hostile packets through the kernel's real queues, in both directions: each gets a verdict, none costs the worker. Random changes of good ones, and a defect planted in the engine. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { queueStatistics } from "../../netlink/queue-socket.ts";
import { Nftables } from "../../netlink/nftables/nftables.ts";
import { RawSocket } from "../../netlink/raw-socket.ts";
import type { LimitsConfig } from "../../enforcer/config/config.ts";
import { verdictMarks } from "../../enforcer/datapath/mark.ts";
import { Datapath } from "../../enforcer/datapath/datapath.ts";
import { Reporter } from "../../enforcer/datapath/reporter.ts";
import type { Reason } from "../../enforcer/reason.ts";
import { renderRuleSet } from "../../plugin/rule-set.ts";
import { Dialogue } from "../handshake/dialogue.ts";
import { startWallMs } from "../handshake/fixtures.ts";
import { alter, FIN, RST } from "../handshake/segments.ts";
import { TestNamespace } from "../netlink/namespaces.ts";
import { icmpPacket, referenceChecksum, tcpPacket, udpPacket } from "../packet/build.ts";

const markMask = 0xfff00000;
const limits: LimitsConfig = {
  processingUnits: 1,
  clientHandshakes: 64,
  serverHandshakes: 64,
  serverHandshakesPerToken: 16,
  authorisedRing: 16,
  heldPackets: 64,
  heldMs: 200,
  handshakeMs: 75_000,
  verificationsPerSecond: 2_000,
  verificationsPerSourcePerSecond: 1_000,
  cachedIdentities: 64,
  cachedFailures: 64,
  cachedPairs: 64,
  resetsPerSecond: 100,
  queueLength: 4_096,
  flowRecords: 100,
};
const rounds = 6_000;

/** A small generator with a seed, so that a failure can be made again. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return Math.floor(((state >>> 8) / 0x1000000) * below);
  };
}

/** Changes up to eight bytes, and now and then the length; version and destination stay, so that it arrives. */
function mutate(packet: Buffer, random: (below: number) => number): Buffer {
  const copy = Buffer.from(packet);
  const first = copy[0] ?? 0;
  const [from, to] = first >> 4 === 4 ? [16, 20] : [24, 40];
  for (let times = random(8); times > 0; times -= 1) {
    const at = random(3) === 0 ? random(Math.min(copy.length, 80)) : random(copy.length);
    if (at < from || at >= to) copy[at] = random(256);
  }
  copy[0] = (first & 0xf0) | ((copy[0] ?? 0) & 0x0f);
  if (random(6) > 0) return copy;
  const length = 40 + random(Math.max(1, copy.length - 40));
  if (first >> 4 === 6) copy.writeUInt16BE(length - 40, 4);
  return copy.subarray(0, length);
}

/** With a right TCP checksum, so that the packet gets further than that. */
function summed(packet: Buffer): Buffer {
  const first = packet[0] ?? 0;
  const isV4 = first >> 4 === 4;
  const at = isV4 ? (first & 0x0f) * 4 : 40;
  if (packet[isV4 ? 9 : 6] !== 6 || packet.length < at + 20) return packet;
  const pseudo = Buffer.from([0, 6, 0, 0]);
  pseudo.writeUInt16BE(packet.length - at, 2);
  packet.writeUInt16BE(0, at + 16);
  const addresses = isV4 ? packet.subarray(12, 20) : packet.subarray(8, 40);
  packet.writeUInt16BE(referenceChecksum(addresses, pseudo, packet.subarray(at)), at + 16);
  return packet;
}

describe("a pod between hostile packets", () => {
  let pod: TestNamespace;
  let peer: TestNamespace;
  let datapath: Datapath;
  let reporter: Reporter;
  let dialogues: readonly Dialogue[];
  let isBroken: boolean;

  beforeEach(() => {
    [pod, peer] = [new TestNamespace(), new TestNamespace()];
    isBroken = false;
    dialogues = ([4, 6] as const).map((version) => new Dialogue({ mode: "pki", version }));
    pod.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", peer.name);
    for (const [namespace, host] of [
      [pod, 20],
      [peer, 10],
    ] as const) {
      namespace.run("ip", "address", "add", `10.1.0.${host}/24`, "dev", "eth0");
      namespace.run("ip", "address", "add", `fd00:1::${host}/64`, "dev", "eth0", "nodad");
      namespace.run("ip", "link", "set", "eth0", "up");
    }
    const nftables = Nftables.open({ netns: pod.fd });
    nftables.replace(renderRuleSet({ interfaceNames: ["eth0"], markMask, onLinkPrefixes6: [] }));
    nftables.close();
    datapath = attach();
  });

  afterEach(async () => {
    datapath.close();
    await Promise.all([pod.remove(), peer.remove()]);
  });

  /** The server of the dialogues, behind the pod's real queues. */
  function attach(): Datapath {
    const [{ server } = new Dialogue()] = dialogues;
    const { environment, identities } = server.node;
    const policy = () => {
      if (isBroken) throw new Error("a defect");
      return server.node.policy;
    };
    reporter = new Reporter();
    const made = new Datapath({
      environment: { ...environment, policy },
      identities: () => identities,
      marks: verdictMarks(markMask),
      limits,
      reporter,
      clock: { now: () => performance.now(), wall: () => startWallMs },
    });
    const { id, attributes, mtu, current } = server.unit;
    if (current === undefined) throw new Error("no token");
    made.attach({ id, attributes, interfaceName: "eth0", mtu, netnsFd: pod.fd });
    made.setToken(id, current);
    return made;
  }

  function seeds(): Buffer[] {
    return dialogues.flatMap((d, index) => {
      const syn = d.wireSyn();
      const ack = d.ack();
      const version = index === 0 ? 4 : 6;
      const route = { source: syn.subarray(version === 4 ? 12 : 8, version === 4 ? 16 : 24).toString("hex") };
      const destination = syn.subarray(version === 4 ? 16 : 24, version === 4 ? 20 : 40).toString("hex");
      const to = (packet: Buffer) => {
        packet.write(route.source, version === 4 ? 12 : 8, "hex");
        packet.write(destination, version === 4 ? 16 : 24, "hex");
        return packet;
      };
      return [
        syn,
        d.synAck(),
        ack,
        alter(ack, () => ({ flags: RST })),
        alter(ack, () => ({ flags: FIN | 0x10 })),
        d.data("hello"),
        to(udpPacket(version, "00ff00ff")),
        to(icmpPacket(version, version === 4 ? 3 : 2, version === 4 ? 4 : 0, "00000500", d.synAck())),
        to(icmpPacket(version, version === 4 ? 8 : 128, 0, "00010001", Buffer.alloc(8))),
        to(
          tcpPacket(
            version,
            { flags: 0x02 },
            {
              extra: version === 4 ? "01010101" : "0600010400000000",
              ...(version === 6 ? { nextHeader: 60 } : {}),
            },
          ),
        ),
      ];
    });
  }

  /** Sends to the pod, or from it, and waits until its queues are empty. */
  async function flood(namespace: TestNamespace, packets: Iterable<Buffer>): Promise<void> {
    const sockets = {
      4: RawSocket.open({ version: 4, netns: namespace.fd }),
      6: RawSocket.open({ version: 6, netns: namespace.fd }),
    };
    let count = 0;
    for (const packet of packets) {
      sockets[(packet[0] ?? 0) >> 4 === 6 ? 6 : 4].send(packet);
      count += 1;
      if (count % 64 === 0) await new Promise(setImmediate);
    }
    for (const socket of Object.values(sockets)) socket.close();
    const waiting = () => queueStatistics(pod.fd).reduce((sum, { waiting }) => sum + waiting, 0);
    await expect.poll(waiting, { timeout: 5_000 }).toBe(0);
  }

  function* mutants(seed: number): Generator<Buffer> {
    const random = randomFrom(seed);
    const originals = seeds();
    for (let round = 0; round < rounds; round += 1) {
      const original = originals[random(originals.length)];
      if (original !== undefined)
        yield random(4) > 0 ? summed(mutate(original, random)) : mutate(original, random);
    }
  }

  test.each([
    ["to it", () => peer],
    ["from it", () => pod],
  ] as const)(
    "sent %s: all are judged, and no defect shows",
    async (_, from) => {
      const seed = Date.now() | 0;
      await flood(from(), mutants(seed));
      const { packets = new Map<Reason, number>(), failures = [] } = reporter.take() ?? {};
      expect({ seed, defects: packets.get("internal-error") }).toEqual({ seed, defects: undefined });
      expect(failures.filter((text) => !/send a reset/.test(text))).toEqual([]);
      expect([...packets.values()].reduce((sum, count) => sum + count, 0)).toBeGreaterThan(rounds / 10);
    },
    60_000,
  );

  test("a defect of the engine costs a packet, and not the worker", async () => {
    isBroken = true;
    await flood(
      peer,
      dialogues.map((dialogue) => dialogue.wireSyn()),
    );
    expect(reporter.take()).toMatchObject({
      packets: new Map([["internal-error", 2]]),
      failures: ["a defect"],
    });
    isBroken = false;
    await flood(
      peer,
      dialogues.map((dialogue) => dialogue.wireSynFrom(40_001)),
    );
    expect(reporter.take()?.packets.get("internal-error")).toBeUndefined();
  });
});
