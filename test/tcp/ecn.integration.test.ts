/**
 * Explicit congestion notification: classic (RFC 3168), negotiated through the handshake by both kernels, with congestion that a router
 * marks; and segments with the bits of accurate ECN (RFC 9768), which this kernel knows but doesn't let anybody choose: they are set on the
 * segments of both stacks, behind the stack and before our rules.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { execOk, Lab } from "../harness/lab.ts";

import { close, exchange } from "./sockets.ts";
import { families, SocketStage, type Family } from "./socket-stage.ts";
import { countingRules, putTable, tableCounters } from "./tables.ts";

const PORT = 8080;
const flags = (mask: string, value: string): string => `tcp flags & (${mask}) == ${value}`;
/** The lowest reserved bit of RFC 793, CWR and ECE, as one number: all three belong to accurate ECN. */
const bits = (value: number): string => `@th,103,3 ${value}`;
const toServer = `tcp dport ${PORT}`;
const toClient = `tcp sport ${PORT}`;
const syn = flags("syn|ack", "syn");
const synAck = flags("syn|ack", "syn|ack");
const other = flags("syn", "0");

/** What the router sees. */
const sights = {
  classic_syn: `${toServer} ${syn} ${bits(3)}`,
  classic_syn_ack: `${toClient} ${synAck} ${bits(1)}`,
  echo: `${toClient} ${other} ${flags("ecn", "ecn")}`,
  reduced: `${toServer} ${other} ${flags("cwr", "cwr")}`,
  accurate_syn: `${toServer} ${syn} ${bits(7)}`,
  accurate_syn_ack: `${toClient} ${synAck} ${bits(6)}`,
  accurate_to_server: `${toServer} ${other} ${bits(5)}`,
  accurate_to_client: `${toClient} ${other} ${bits(5)}`,
  plain_opening: `${flags("syn", "syn")} ${bits(0)}`,
};

/** On a router: every segment to the server that may carry the mark of congestion gets it. */
const congestion = `chain congest {
  type filter hook forward priority -10
  ${toServer} ip ecn { ect0, ect1 } ip ecn set ce
  ${toServer} ip6 ecn { ect0, ect1 } ip6 ecn set ce
}`;

/** In a pod: a SYN asks for accurate ECN, a SYN-ACK grants it, and every other segment counts 5 marks. */
const forgery = `chain forge {
  type filter hook output priority 0
  ${toServer} ${syn} @th,103,3 set 7
  ${toClient} ${synAck} @th,103,3 set 6
  tcp dport ${PORT} ${other} @th,103,3 set 5
  tcp sport ${PORT} ${other} @th,103,3 set 5
}`;

/** What the server gets with a router's mark. */
const arrivals = { marked: `${toServer} ip ecn ce`, marked6: `${toServer} ip6 ecn ce` };
const arrivalOf = { address: "marked", address6: "marked6" } as const;

describe("congestion notification", () => {
  const lab = new Lab();
  let stage: SocketStage;

  const pods = (): string[] => [stage.pair.client.namespace, stage.pair.server.namespace];
  const watch = (): Promise<void> =>
    putTable(stage.pair.cluster.router, "watch", countingRules("forward", 0, sights));
  const seen = (): Promise<Record<string, number>> => tableCounters(stage.pair.cluster.router, "watch");

  beforeAll(async () => {
    stage = await SocketStage.build(lab, { mode: "pki" });
    await stage.listen(PORT);
  }, 60_000);
  afterAll(() => lab.close());

  describe("classic", () => {
    const marked = async (family: Family): Promise<number[]> => [
      (await tableCounters(stage.pair.server.namespace, "watch"))[arrivalOf[family]] ?? 0,
      stage.clientKernel.counter("TcpExtTCPDeliveredCE"),
    ];

    beforeAll(async () => {
      for (const kernel of [stage.clientKernel, stage.serverKernel]) kernel.writeSysctl("ipv4/tcp_ecn", 1);
      await putTable(stage.pair.server.namespace, "watch", countingRules("input", 0, arrivals));
    });

    test.each(families)("both ends agree, and a mark gets back to its cause, by %s", async (family) => {
      const { client, cluster, server } = stage.pair;
      await watch();
      const connection = await stage.connect(server[family], PORT);
      const { port } = connection.client.flow.client;
      expect(await execOk(client.namespace, ["ss", "-tinoH", "sport", "=", `:${port}`])).toMatch(/ ecn /);
      await stage.expectAuthorised(connection);
      const before = await marked(family);
      await putTable(cluster.router, "congestion", congestion);
      for (let round = 0; round < 5; round += 1) await exchange(connection, 20_000);
      await putTable(cluster.router, "congestion", "");
      const after = await marked(family);
      for (const [index, count] of after.entries()) expect(count).toBeGreaterThan(before[index] ?? 0);
      await close(connection);
      const { classic_syn, classic_syn_ack, echo, reduced } = await seen();
      for (const count of [classic_syn, classic_syn_ack, echo, reduced]) expect(count).toBeGreaterThan(0);
    });
  });

  describe("accurate", () => {
    beforeAll(async () => {
      for (const kernel of [stage.clientKernel, stage.serverKernel]) kernel.writeSysctl("ipv4/tcp_ecn", 2);
      for (const pod of pods()) await putTable(pod, "forgery", forgery);
    });

    test.each(families)("its bits on every segment change nothing, by %s", async (family) => {
      await watch();
      const connection = await stage.connect(stage.pair.server[family], PORT);
      await stage.expectAuthorised(connection);
      await close(connection);
      const { plain_opening, accurate_syn, accurate_syn_ack, ...others } = await seen();
      expect(plain_opening).toBe(0);
      for (const count of [accurate_syn, accurate_syn_ack]) expect(count).toBeGreaterThan(0);
      for (const count of [others["accurate_to_server"], others["accurate_to_client"]])
        expect(count).toBeGreaterThan(2);
    });
  });
});
