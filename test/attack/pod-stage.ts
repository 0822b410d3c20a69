/** A pod and its only neighbour, the rule set in the pod, and in place of the enforcer a reader who lets everything go out, or nothing. */
import { closeFd, openNetns } from "../../netlink/netns.ts";
import type { Table } from "../../netlink/nftables/model.ts";
import { Nftables } from "../../netlink/nftables/nftables.ts";
import { Poller } from "../../netlink/poller.ts";
import { parseAddress } from "../../netlink/prefix.ts";
import { createQueuePacket, decodeQueuePacket, VerdictWriter } from "../../netlink/queue.ts";
import { QueueSocket } from "../../netlink/queue-socket.ts";
import { ReceiveBatch } from "../../netlink/receive-batch.ts";
import { Route } from "../../netlink/route.ts";
import { renderRuleSet } from "../../plugin/rule-set.ts";
import { execOk, namespacePath, type Lab } from "../harness/lab.ts";
import type { Ends } from "./frames.ts";

export const SEAL = 0x3c5a1e77;

export interface PodStage {
  readonly pod: string;
  readonly neighbour: string;
  readonly netnsFd: number;
  readonly interfaceIndex: number;
  readonly linkLocal: string;
  readonly ends4: Ends;
  readonly ends6: Ends;
  /** The rules as they should be. */
  readonly tables: readonly Table[];
  /** Puts rules in place of those before. */
  install(tables: readonly Table[]): void;
  /** What the reader does from now on; at first it accepts. */
  judge(verdict: "accept" | "drop"): void;
}

export async function createPodStage(lab: Lab): Promise<PodStage> {
  const [pod, neighbour] = [await lab.addNamespace("pod"), await lab.addNamespace("neighbour")];
  await lab.addVeth({ namespace: pod, name: "eth0" }, { namespace: neighbour, name: "eth0" });
  for (const [namespace, number] of [
    [pod, 2],
    [neighbour, 1],
  ] as const) {
    await execOk(namespace, ["ip", "address", "add", `10.9.0.${number}/24`, "dev", "eth0"]);
    await execOk(namespace, ["ip", "address", "add", `fd09::${number}/64`, "dev", "eth0", "nodad"]);
  }
  await execOk(pod, ["ip", "route", "add", "default", "via", "10.9.0.1"]);
  const netnsFd = openNetns(namespacePath(pod));
  lab.defer(() => closeFd(netnsFd));
  const { index, hardware, linkLocals } = readInterface(netnsFd);
  const others = openNetns(namespacePath(neighbour));
  const ends = { fromHardware: hardware, toHardware: readInterface(others).hardware };
  closeFd(others);
  const reader = startReader(lab, netnsFd);
  return {
    pod,
    neighbour,
    netnsFd,
    interfaceIndex: index,
    linkLocal: linkLocals[0] ?? "",
    ends4: { ...ends, from: "10.9.0.2", to: "10.9.0.1" },
    ends6: { ...ends, from: "fd09::2", to: "fd09::1" },
    tables: renderRuleSet({
      interfaceNames: ["eth0"],
      markMask: 0xfff00000,
      onLinkPrefixes6: ["fd09::/64"],
      egress: {
        seal: SEAL,
        addresses: ["10.9.0.2", "fd09::2"].flatMap((text) => parseAddress(text) ?? []),
        linkLocals: linkLocals.flatMap((text) => parseAddress(text) ?? []),
      },
    }),
    install: (tables) => {
      const nftables = Nftables.open({ netns: netnsFd });
      nftables.replace(tables);
      nftables.close();
    },
    judge: (verdict) => {
      reader.verdict = verdict;
    },
  };
}

function readInterface(netns: number): { index: number; hardware: string; linkLocals: string[] } {
  const route = Route.open({ netns });
  const link = route.links().find(({ name }) => name === "eth0");
  const addresses = link === undefined ? [] : route.addresses(link.index);
  route.close();
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  return {
    index: link?.index ?? 0,
    hardware: hex(link?.address ?? new Uint8Array()),
    linkLocals: addresses
      .map(({ prefix }) => hex(prefix.address))
      .filter((text) => text.startsWith("fe80"))
      .map((text) => (text.match(/.{4}/g) ?? []).join(":")),
  };
}

/** Reads every queue: as if the policy allowed all of it, or nothing. */
function startReader(lab: Lab, netns: number): { verdict: "accept" | "drop" } {
  const reader: { verdict: "accept" | "drop" } = { verdict: "accept" };
  const socket = QueueSocket.open({ queues: [0, 1, 2, 3, 4, 5, 6], netns });
  const batch = new ReceiveBatch(16, 66_000);
  const packet = createQueuePacket();
  const verdicts = new VerdictWriter();
  const poller = new Poller(() => {
    const count = socket.receive(batch);
    for (let slot = 0; slot < count; slot += 1) {
      if (decodeQueuePacket(batch.view, batch.offset(slot), batch.length(slot), packet) !== "packet")
        continue;
      if (reader.verdict === "drop") verdicts.drop(packet.queue, packet.id);
      else verdicts.accept(packet.queue, packet.id, undefined);
    }
    socket.send(verdicts);
    verdicts.reset();
  });
  poller.add(socket.fd, 0);
  lab.defer(() => {
    poller.close();
    socket.close();
  });
  return reader;
}
