/** What kernels count: protocol counters of a namespace, rules that count segments, packets that crossed a pod's queues, and marks of connections. */
import { expect } from "vitest";
import { execOk } from "../harness/lab.ts";
import type { Pair } from "../integration/pair.ts";
import { exchange, type Connection } from "./sockets.ts";

/** A counter of a namespace's kernel, as nstat calls it. */
export async function kernelCounter(namespace: string, name: string): Promise<number> {
  const text = await execOk(namespace, ["nstat", "-a", "-s", "-z", "-j", name]);
  const { kernel } = JSON.parse(text) as { kernel: Record<string, number> };
  const value = kernel[name];
  if (value === undefined) throw new Error(`this kernel has no counter ${name}`);
  return value;
}

/** Puts `rules` (what stands inside of a table) into a table of its own in family inet, in place of what it was. */
export async function putTable(namespace: string, name: string, rules: string): Promise<void> {
  const input = `table inet ${name} {}\ndelete table inet ${name}\ntable inet ${name} {\n${rules}\n}\n`;
  await execOk(namespace, ["nft", "-f", "-"], { input });
}

export async function dropTable(namespace: string, name: string): Promise<void> {
  await execOk(namespace, ["nft", "delete", "table", "inet", name]);
}

/** Packets that each named counter of a table has counted. */
export async function tableCounters(namespace: string, name: string): Promise<Record<string, number>> {
  const text = await execOk(namespace, ["nft", "-j", "list", "counters", "table", "inet", name]);
  const { nftables } = JSON.parse(text) as { nftables: { counter?: { name: string; packets: number } }[] };
  return Object.fromEntries(
    nftables.flatMap(({ counter }) => (counter ? [[counter.name, counter.packets]] : [])),
  );
}

/** Rules that only count: a named counter for each. `matches` is nft's language. */
export function countingRules(
  hook: string,
  priority: number,
  matches: Readonly<Record<string, string>>,
): string {
  const names = Object.keys(matches);
  const rules = names.map((name) => `${matches[name] ?? ""} counter name ${name}`);
  return [
    ...names.map((name) => `counter ${name} {}`),
    `chain count_${hook} {`,
    `type filter hook ${hook} priority ${priority}`,
    ...rules,
    "}",
  ].join("\n");
}

const TCP_QUEUES = 5;

/** Packets that have crossed each of the queues of TCP in a pod. */
export async function crossings(namespace: string): Promise<number[]> {
  const lines = (await execOk(namespace, ["cat", "/proc/net/netfilter/nfnetlink_queue"])).trim().split("\n");
  const rows = lines.map((line) => line.trim().split(/\s+/).map(Number));
  return rows.filter(([queue = 0]) => queue < TCP_QUEUES).map((row) => row[7] ?? -1);
}

/** State bits of our mark (5: authorised) of a pod's conntrack entries with this source port of the client's. */
export async function markStates(namespace: string, port: number): Promise<number[]> {
  const lists = [4, 6].map((family) =>
    execOk(namespace, [
      "conntrack",
      "-L",
      "-p",
      "tcp",
      "-f",
      `ipv${family}`,
      "--orig-port-src",
      String(port),
    ]),
  );
  const lines = (await Promise.all(lists)).join("\n").split("\n");
  return lines.flatMap((line) => {
    const mark = / mark=(\d+)/.exec(line)?.[1];
    return mark === undefined ? [] : [Number(mark) >>> 28];
  });
}

const AUTHORISED = 5;

/** The connection is authorised at both ends: bytes go to and fro, both entries have the mark, and from then on nothing of it crosses a queue. */
export async function expectAuthorised(pair: Pair, connection: Connection): Promise<void> {
  const pods = [pair.client.namespace, pair.server.namespace];
  await exchange(connection, 1_000);
  for (const pod of pods) expect(await markStates(pod, connection.port)).toEqual([AUTHORISED]);
  const before = await Promise.all(pods.map(crossings));
  await exchange(connection, 50_000);
  expect(await Promise.all(pods.map(crossings))).toEqual(before);
}
