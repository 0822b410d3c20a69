/** What a pod with CAP_NET_RAW sends past its own IP stack, to addresses that its policy forbids. No rule counts these: they end in silence. */
import { sleep } from "../../harness/command.ts";
import { execOk } from "../../harness/lab.ts";
import type { Attack } from "../attack.ts";
import { ROUTER, type Field } from "../field.ts";
import { frame, udpPacket } from "../frames.ts";

/** AF_XDP is tried so often: the kernel gives a queue back a moment after its socket is closed. */
const XDP_TRIES = 10;
const XDP_PAUSE_MS = 100;

/** A datagram to the router, which policy forbids, in a frame to the client's gateway. */
async function frameOf({ client }: Field, word: string): Promise<string> {
  const gateway = client.address.replace(/\.\d+$/, ".1");
  const list = await client.pod.exec(["ip", "neighbour", "show", gateway]);
  const [, toHardware = ""] = /lladdr (\S+)/.exec(list.stdout) ?? [];
  const own = await execOk(client.pod.namespace, ["cat", "/sys/class/net/eth0/address"]);
  const ends = { fromHardware: own.trim(), toHardware, from: client.address, to: ROUTER };
  return frame(ends, 0x0800, udpPacket(ends.from, ends.to, word)).toString("hex");
}

/** Whether the rules at the pod's last hook lack a piece, as `nft` writes it. */
const lacks =
  (chain: string, piece: string) =>
  async ({ client }: Field): Promise<boolean> => {
    const list = ["nft", "list", "chain", "netdev", "trireme", chain];
    return !(await execOk(client.pod.namespace, list)).includes(piece);
  };

const silently = { by: "client", reason: undefined } as const;

export const frames: readonly Attack[] = [
  {
    name: "a frame past the pod's hooks (AF_PACKET)",
    patch: "frames-without-route",
    stopped: silently,
    inPlace: lacks("egress", "rtclassid"),
    run: async (field, word) => {
      const bytes = await frameOf(field, word);
      for (const bypass of [0, 1])
        await field.programs.attack(field.client.pod.namespace, "packet", "eth0", 0x0800, 0, bypass, bytes);
    },
  },
  {
    name: "another's address on a packet of a raw socket",
    patch: "sources-not-checked",
    stopped: silently,
    inPlace: lacks("stack", "ip6 saddr"),
    run: async ({ programs, client, guest, server }, word) => {
      // The policy allows this datagram, from its own address.
      const packet = udpPacket(guest.address, server.pod.node.address, word).toString("hex");
      await programs.attack(client.pod.namespace, "raw", "eth0", 0, packet);
    },
  },
  {
    name: "a frame past all hooks (AF_XDP)",
    patch: "xdp-queues-not-held",
    stopped: silently,
    run: async (field, word) => {
      const bytes = await frameOf(field, word);
      for (let attempt = 0; attempt < XDP_TRIES; attempt++) {
        const { namespace } = field.client.pod;
        const printed = await field.programs.attack(namespace, "xdp", "eth0", 0, bytes);
        if (printed.includes("send ok")) return;
        await sleep(XDP_PAUSE_MS);
      }
    },
  },
];
