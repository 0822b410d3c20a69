/** Receivers without an enforcer, inside the managed networks: refused before any byte of the application leaves; and, listed as unmanaged with an address rule, reached without a token. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject } from "../harness/cni-chain.ts";
import { podNetworks, type Pod } from "../harness/cluster.ts";
import { Lab } from "../harness/lab.ts";
import { connect } from "../harness/traffic.ts";
import { createPair, type Pair } from "../integration/pair.ts";
import { countingRules, kernelCounter, putTable, tableCounters } from "./kernel.ts";
import { accept, buildSockets, close, exchange, Sockets } from "./sockets.ts";
import { families } from "./stage.ts";

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

describe.each(["psk", "pki"] as const)("receivers without an enforcer, mode %s", (mode) => {
  const lab = new Lab();
  let pair: Pair;
  let client: Sockets;
  let unlisted: { pod: Pod; sockets: Sockets };
  let listed: { pod: Pod; sockets: Sockets };

  beforeAll(async () => {
    const networks = { pods: podNetworks, unmanaged: Object.values(LISTED).map((address) => ({ address })) };
    pair = await createPair(lab, { mode, policy, config: { networks } });
    const program = await buildSockets(lab);
    client = new Sockets(lab, pair.client.namespace, program);
    const add = async (name: string): Promise<typeof unlisted> => {
      const pod = await pair.serverEnforcer.node.addPod(name, {}, { trireme: undefined });
      const sockets = new Sockets(lab, pod.namespace, program);
      await sockets.ok(`listen l ${PORT} 16`);
      await putTable(pod.namespace, "watch", countingRules("input", 0, sights));
      return { pod, sockets };
    };
    unlisted = await add("unlisted");
    listed = await add("listed");
    expect(listed.pod).toMatchObject(LISTED);
  }, 60_000);
  afterAll(() => lab.close());

  const decision = async (address: string): Promise<JsonObject | undefined> =>
    (await pair.clientEnforcer.flows()).findLast(
      ({ destination }) => (destination as JsonObject)["address"] === address,
    );

  test.each(families)("refused at once, and no byte of the application's arrives, by %s", async (family) => {
    const { pod, sockets } = unlisted;
    const before = await tableCounters(pod.namespace, "watch");
    expect(await client.ask(`connect refused-${family} ${pod[family]} ${PORT}`)).toBe("error ECONNREFUSED");
    expect(await decision(pod[family])).toMatchObject({
      verdict: "deny",
      reason: "token-missing",
      proof: "none",
    });
    const { syn = 0, message = 0 } = before;
    const seen = await tableCounters(pod.namespace, "watch");
    expect(seen).toEqual({ syn: syn + 1, message: message + 1, data: 0 });
    expect(await sockets.ask("accept l none now")).toBe("error EAGAIN");
    expect(await kernelCounter(pod.namespace, "TcpPassiveOpens")).toBe(0);
  });

  test.each(families)(
    "listed as unmanaged, one works by an address rule, and no token leaves, by %s",
    async (family) => {
      const { pod, sockets } = listed;
      const name = `c-${family}`;
      const before = await tableCounters(pod.namespace, "watch");
      const port = Number(await client.ok(`connect ${name} ${pod[family]} ${PORT}`));
      const { from } = await accept(sockets, "l", name);
      expect(from).toBe(pair.client[family]);
      const connection = { client: { at: client, name }, server: { at: sockets, name }, port, from };
      await exchange(connection, 50_000);
      await close(connection);
      const seen = await tableCounters(pod.namespace, "watch");
      expect(seen).toMatchObject({ syn: (before["syn"] ?? 0) + 1, message: 0 });
      expect(seen["data"]).toBeGreaterThan(0);
      expect(await decision(pod[family])).toMatchObject({
        verdict: "allow",
        reason: "address-allow",
        rule: "all/listed",
        proof: "address",
      });
    },
  );

  test.each(families)("and such a pod gets nothing from one with an enforcer, by %s", async (family) => {
    const server = new Sockets(lab, pair.server.namespace, await buildSockets(lab));
    await server.ok(`listen l ${PORT} 16`);
    const attempt = await connect(unlisted.pod.namespace, pair.server[family], PORT, { timeoutMs: 700 });
    expect(attempt).toEqual({ outcome: "timeout", echoed: 0 });
    expect(await server.ask("accept l none now")).toBe("error EAGAIN");
    const record = (await pair.serverEnforcer.flows()).at(-1);
    expect(record).toMatchObject({ verdict: "deny", reason: "token-missing", proof: "none" });
    expect(await kernelCounter(pair.server.namespace, "TcpPassiveOpens")).toBe(0);
    await server.stop();
  });
});
