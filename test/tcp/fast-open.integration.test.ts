/** Fast Open with a real cookie: one that the server's kernel gave the client's, before there were rules between them. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject } from "../harness/cni-chain.ts";
import { waitFor } from "../harness/command.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { accept, close, type Connection } from "./sockets.ts";
import { families, SocketStage, type Family } from "./socket-stage.ts";
import { countingRules, putTable, tableCounters } from "./tables.ts";

const OPEN = 8080;
const DENIED = 8081;
const BYTES = 500;
const toServer = `tcp dport { ${OPEN}, ${DENIED} } tcp flags & (syn|ack) == syn`;
/** A SYN with a cookie (the option is longer than its own head), and one with data. */
const cookie = `${toServer} tcp option @34,8,8 > 2`;
const data = `${toServer} @ih,0,8 >= 0`;
/** The first byte of what the client's program sends is 0; that of our message isn't. */
const applicationData = `${toServer} @ih,0,8 0`;

const policy = `version: 1
policies:
  - name: all
    subject: {}
    ingress: [{ name: in, from: [{}], ports: [{ port: ${OPEN} }] }]
    egress: [{ name: out, to: [{}] }]
`;

describe("Fast Open", () => {
  const lab = new Lab();
  let stage: SocketStage;

  const pods = (): string[] => [stage.pair.client.namespace, stage.pair.server.namespace];
  /** A pod's tables are put back in one batch. */
  const hasRules = async (pod: string): Promise<boolean> =>
    (await execOk(pod, ["nft", "list", "tables"])).includes("table inet trireme");
  const passive = (): number => stage.serverKernel.counter("TcpExtTCPFastOpenPassive");
  const failed = (): number => stage.clientKernel.counter("TcpExtTCPFastOpenActiveFail");

  /** The client opens with data. The socket has a port only once it has spoken. */
  async function speak(family: Family): Promise<Connection> {
    const dialled = await stage.dial(stage.pair.server[family], OPEN, "fastopen");
    const { name } = dialled;
    await stage.client.ok(`send ${name} ${BYTES}`);
    const { from } = await accept(stage.server, String(OPEN), name);
    await stage.server.ok(`receive ${name} ${BYTES}`);
    return stage.joined({ ...dialled, port: from.port }, { name, at: OPEN, from });
  }

  /** Without enforcers and without rules: the first connection asks for a cookie, the second uses it. */
  async function takeCookie(family: Family): Promise<void> {
    const before = passive();
    for (let round = 0; round < 2; round += 1) {
      await close(await speak(family));
    }
    expect(passive()).toBe(before + 1);
  }

  beforeAll(async () => {
    stage = await SocketStage.build(lab, { mode: "pki", policy });
    const { clientEnforcer, serverEnforcer } = stage.pair;
    for (const kernel of [stage.clientKernel, stage.serverKernel]) kernel.writeSysctl("ipv4/tcp_fastopen", 3);
    for (const port of [OPEN, DENIED]) await stage.listen(port, 16, "fastopen");
    for (const enforcer of [clientEnforcer, serverEnforcer]) await enforcer.stop();
    for (const pod of pods()) await execOk(pod, ["nft", "flush", "ruleset"]);
    for (const family of families) await takeCookie(family);
    for (const enforcer of [clientEnforcer, serverEnforcer]) await enforcer.start();
    for (const pod of pods()) await waitFor("the rules", () => hasRules(pod));
    await putTable(stage.pair.client.namespace, "watch", countingRules("output", 0, { cookie, data }));
    // Behind our rules, before the kernel's TCP.
    await putTable(stage.pair.server.namespace, "watch", countingRules("input", 0, { cookie, data }));
    await putTable(
      stage.pair.cluster.router,
      "watch",
      countingRules("forward", 0, { cookie, applicationData }),
    );
  }, 60_000);
  afterAll(() => lab.close());

  /** What left the client's kernel, what was on the way, and what the server's kernel got. */
  const sights = (): Promise<Record<string, number>[]> => {
    const { client, cluster, server } = stage.pair;
    return Promise.all(
      [client.namespace, cluster.router, server.namespace].map((place) => tableCounters(place, "watch")),
    );
  };

  /** Our rules and the router have seen neither cookie nor data of the application behind the client's kernel. */
  async function expectOneMoreSent([sent, ...further]: Record<string, number>[]): Promise<void> {
    const counts = { cookie: (sent?.["cookie"] ?? 0) + 1, data: (sent?.["data"] ?? 0) + 1 };
    expect(await sights()).toEqual([counts, ...further]);
  }

  test.each(families)("data that leave with a cookie arrive once, after the proof, by %s", async (family) => {
    const before = { sights: await sights(), passive: passive(), failed: failed() };
    const connection = await speak(family);
    await stage.expectAuthorised(connection);
    await close(connection);
    expect({ passive: passive(), failed: failed() }).toEqual({
      passive: before.passive,
      failed: before.failed + 1,
    });
    await expectOneMoreSent(before.sights);
  });

  test.each(families)("nothing of them gets past a refusal, by %s", async (family) => {
    const { client, server, serverEnforcer } = stage.pair;
    const before = { sights: await sights(), passive: passive() };
    const impatient = stage.sockets(client.namespace);
    await impatient.ok(`connect c ${server[family]} ${DENIED} fastopen`);
    impatient.ask(`send c ${BYTES}`).catch(() => undefined); // It waits for the connection, and ends with its program.
    await waitFor("the refusal", async () =>
      (await serverEnforcer.flows()).find(
        ({ reason, destination }) =>
          reason === "no-rule" && (destination as JsonObject)["address"] === server[family],
      ),
    );
    await expectOneMoreSent(before.sights);
    await impatient.stop();
    expect(await stage.server.ask(`accept ${DENIED} none now`)).toBe("error EAGAIN");
    expect(passive()).toBe(before.passive);
  });
});
