/**
 * Receivers without an enforcer, inside the managed networks: refused before any byte of the application leaves, although the client's
 * kernel has it in its SYN; and, listed as unmanaged with an address rule, reached without a token.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject } from "../harness/cni-chain.ts";
import { podNetworks } from "../harness/cluster.ts";
import { waitFor } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";
import { connect } from "../harness/traffic.ts";
import { PodKernel } from "./pod-kernel.ts";
import { accept, close, exchange, type Sockets } from "./sockets.ts";
import { families, SocketStage, type Family } from "./socket-stage.ts";
import { countingRules, putTable, tableCounters } from "./tables.ts";

const PORT = 8080;
/** host-local gives each node's pods addresses in their order. */
const LISTED = { address: "10.244.2.4", address6: "fd00:244:2::4" } as const;

const policy = `version: 1
policies:
  - name: all
    subject: {}
    ingress: [{ name: in, from: [{}] }]
    egress:
      - { name: out, to: [{}] }
      - name: listed
        to: [{ ipBlock: { cidr: ${LISTED.address}/32 } }, { ipBlock: { cidr: "${LISTED.address6}/128" } }]
        ports: [{ port: ${PORT} }]
`;

/** What a pod's kernel gets: SYNs, those with our message, and data of an application (the first byte of the client's program is 0). */
const sights = {
  syn: `tcp dport ${PORT} tcp flags & (syn|ack) == syn`,
  message: `tcp dport ${PORT} tcp flags & (syn|ack) == syn @ih,0,32 0xd7545249`,
  data: `tcp dport ${PORT} @ih,0,8 0`,
};

const earlyData = `tcp dport ${PORT} tcp flags & (syn|ack) == syn @ih,0,8 0`;

interface PlainPod extends Record<Family, string> {
  readonly namespace: string;
  readonly kernel: PodKernel;
  readonly sockets: Sockets;
}

describe.each(["psk", "pki"] as const)("receivers without an enforcer, mode %s", (mode) => {
  const lab = new Lab();
  let stage: SocketStage;
  let unlisted: PlainPod;
  let listed: PlainPod;

  /** A pod with a listener `l`. Its kernel takes the data of SYNs with a good cookie, as most do. */
  async function addPlainPod(name: string): Promise<PlainPod> {
    const pod = await stage.pair.serverEnforcer.node.addPod(name, {}, { trireme: undefined });
    const { address, address6, namespace } = pod;
    const kernel = new PodKernel(lab, namespace);
    kernel.writeSysctl("ipv4/tcp_fastopen", 3);
    const sockets = stage.sockets(namespace);
    await sockets.ok(`listen l ${PORT} 16 fastopen`);
    await putTable(namespace, "watch", countingRules("input", 0, sights));
    return { address, address6, namespace, kernel, sockets };
  }

  beforeAll(async () => {
    const networks = { pods: podNetworks, unmanaged: Object.values(LISTED).map((address) => ({ address })) };
    stage = await SocketStage.build(lab, { mode, policy, config: { networks } });
    // The client's kernel has data in its SYN without ever having had a cookie.
    stage.clientKernel.writeSysctl("ipv4/tcp_fastopen", 5);
    await putTable(stage.pair.client.namespace, "watch", countingRules("output", 0, { early: earlyData }));
    unlisted = await addPlainPod("unlisted");
    listed = await addPlainPod("listed");
    expect(listed).toMatchObject(LISTED);
    await stage.listen(PORT);
  }, 60_000);
  afterAll(() => lab.close());

  const decision = async (address: string): Promise<JsonObject | undefined> =>
    (await stage.pair.clientEnforcer.flows()).findLast(
      ({ destination }) => (destination as JsonObject)["address"] === address,
    );
  /** SYNs with data of the application that have left the client's kernel, before our rules. */
  const earlySyns = async (): Promise<number> =>
    (await tableCounters(stage.pair.client.namespace, "watch"))["early"] ?? 0;

  test.each(families)("refused at once, and no byte of the application's arrives, by %s", async (family) => {
    const { kernel, namespace, sockets } = unlisted;
    const { syn = 0, message = 0 } = await tableCounters(namespace, "watch");
    const before = await earlySyns();
    const command = `connect refused-${family} ${unlisted[family]} ${PORT} fastopen send=500`;
    expect(await stage.client.ask(command)).toBe("error ECONNREFUSED");
    expect(await earlySyns()).toBe(before + 1);
    expect(await decision(unlisted[family])).toMatchObject({
      verdict: "deny",
      reason: "token-missing",
      proof: "none",
    });
    const seen = await tableCounters(namespace, "watch");
    const messages = (seen["message"] ?? 0) - message;
    expect(messages).toBeGreaterThan(0);
    expect(seen).toEqual({ syn: syn + messages, message: message + messages, data: 0 });
    expect(await sockets.ask("accept l none now")).toBe("error EAGAIN");
    expect(kernel.counter("TcpPassiveOpens")).toBe(0);
  });

  test.each(families)(
    "if its kernel takes any SYN's data, it gets our message alone, by %s",
    async (family) => {
      const { kernel, namespace, sockets } = unlisted;
      kernel.writeSysctl("ipv4/tcp_fastopen", 0x207);
      const impatient = stage.sockets(stage.pair.client.namespace);
      impatient.ask(`connect c ${unlisted[family]} ${PORT} fastopen send=500`).catch(() => undefined); // Ends with its program.
      await sockets.ok(`accept l early-${family}`);
      // Our magic's first byte isn't what a client's stream begins with.
      expect(await sockets.ask(`receive early-${family} 1`)).toBe("different 0");
      expect((await tableCounters(namespace, "watch"))["data"]).toBe(0);
      await sockets.ok(`close early-${family}`);
      await impatient.stop();
      kernel.writeSysctl("ipv4/tcp_fastopen", 3);
    },
  );

  test.each(families)(
    "listed as unmanaged, one works by an address rule, without token, by %s",
    async (family) => {
      const { namespace, sockets } = listed;
      const { syn = 0 } = await tableCounters(namespace, "watch");
      const before = await earlySyns();
      const { name } = await stage.dial(listed[family], PORT, "fastopen send=500");
      const { from } = await accept(sockets, "l", name);
      await sockets.ok(`receive ${name} 500`);
      expect(from.address).toBe(stage.pair.client[family]);
      const connection = { client: { sockets: stage.client, name }, server: { sockets, name } };
      await exchange(connection, 50_000);
      await close(connection);
      const seen = await tableCounters(namespace, "watch");
      expect(seen["syn"]).toBeGreaterThan(syn);
      expect(seen["message"]).toBe(0);
      expect(seen["data"]).toBeGreaterThan(0);
      expect(await earlySyns()).toBe(before + 1);
      expect(await decision(listed[family])).toMatchObject({
        verdict: "allow",
        reason: "address-allow",
        rule: "all/listed",
        proof: "address",
      });
    },
  );

  test.each(families)("and such a pod gets nothing from one with an enforcer, by %s", async (family) => {
    const { server, serverEnforcer } = stage.pair;
    const opened = stage.serverKernel.counter("TcpPassiveOpens");
    const attempt = await connect(unlisted.namespace, server[family], PORT, { timeoutMs: 700 });
    expect(attempt).toEqual({ outcome: "timeout", echoed: 0 });
    expect(await stage.server.ask(`accept ${PORT} none now`)).toBe("error EAGAIN");
    const record = await waitFor("a record", async () =>
      (await serverEnforcer.flows()).findLast(
        ({ source }) => (source as JsonObject)["address"] === unlisted[family],
      ),
    );
    expect(record).toMatchObject({ verdict: "deny", reason: "token-missing", proof: "none" });
    expect(stage.serverKernel.counter("TcpPassiveOpens")).toBe(opened);
  });
});
