/** What goes on and what stops when the enforcer is killed, restarted or reloaded, and that bulk data never crosses a queue. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeBinary } from "../harness/binaries.ts";
import { sleep, waitFor, type BackgroundProcess } from "../harness/command.ts";
import { Lab, execOk } from "../harness/lab.ts";
import { connect, startEchoServer } from "../harness/traffic.ts";
import { createPair, type Pair } from "./pair.ts";

const PORT = 8080;

/** Packets that crossed each queue of a namespace since its queues were opened, by queue number. */
async function crossings(namespace: string): Promise<Map<number, number>> {
  const lines = (await execOk(namespace, ["cat", "/proc/net/netfilter/nfnetlink_queue"])).trim().split("\n");
  return new Map(
    lines.map((line) => line.trim().split(/\s+/).map(Number)).map((row) => [row[0] ?? -1, row[7] ?? -1]),
  );
}

/** A client that stays connected: each line it is sent goes to the echo server and comes back as a line of its output. */
const TALKER = `
const socket = require("node:net").connect(Number(process.argv[2]), process.argv[1], () => console.log("ready"));
socket.on("data", (piece) => console.log("echo " + piece));
socket.on("error", (error) => console.log("error " + error.code));
socket.on("end", () => console.log("end"));
process.stdin.on("data", (piece) => socket.write(piece));
`;

function startTalker(lab: Lab, namespace: string, host: string): BackgroundProcess {
  return lab.start(namespace, [nodeBinary, "-e", TALKER, host, String(PORT)]);
}

async function talk(talker: BackgroundProcess, word: string): Promise<void> {
  talker.child.stdin?.write(word);
  await talker.waitForOutput(new RegExp(`echo ${word}`));
}

describe("survival", () => {
  const lab = new Lab();
  let pair: Pair;

  beforeAll(async () => {
    pair = await createPair(lab, { mode: "pki" });
    await startEchoServer(lab, pair.server.namespace, PORT);
  }, 60_000);
  afterAll(() => lab.close());

  test("queue counters stand still while 1 GiB flows", async () => {
    const { client, server } = pair;
    await lab
      .start(server.namespace, ["iperf3", "-s", "-p", "5201"])
      .waitForOutput(/listening/i)
      .catch(() => undefined);
    const during: Map<number, number>[] = [];
    const transfer = client.exec(["iperf3", "-c", server.address, "-p", "5201", "-n", "1G", "-C", "cubic"], {
      timeoutMs: 60_000,
    });
    await sleep(150);
    during.push(await crossings(client.namespace), await crossings(server.namespace));
    expect((await transfer).status).toBe(0);
    // iperf3 opens its control and its data connection at the start; nothing of either crosses a queue afterwards.
    expect([await crossings(client.namespace), await crossings(server.namespace)]).toEqual(during);
  });

  test("authorised connections go on while the enforcers are dead and after they are back", async () => {
    const { client, server, clientEnforcer, serverEnforcer } = pair;
    const talker = startTalker(lab, client.namespace, server.address);
    await talker.waitForOutput(/ready/);
    await talk(talker, "before");
    await clientEnforcer.kill();
    await serverEnforcer.kill();
    await talk(talker, "meanwhile");
    expect((await connect(client.namespace, server.address, PORT, { timeoutMs: 1_500 })).outcome).toBe(
      "timeout",
    );
    expect((await connect(pair.cluster.router, server.address, PORT, { timeoutMs: 1_500 })).outcome).toBe(
      "timeout",
    );
    await clientEnforcer.start();
    await serverEnforcer.start();
    const startedMs = performance.now();
    expect((await connect(client.namespace, server.address, PORT, { timeoutMs: 1_000 })).outcome).toBe(
      "connected",
    );
    expect(performance.now() - startedMs).toBeLessThan(1_500);
    await talk(talker, "after");
    await talker.stop();
  });

  test("SIGTERM ends the enforcer within 5 s and leaves the rules in place", async () => {
    const { client, server, clientEnforcer } = pair;
    const rules = (): Promise<string> => execOk(client.namespace, ["nft", "list", "ruleset"]);
    const before = await rules();
    const beganMs = performance.now();
    expect(await clientEnforcer.stop()).toBe(0);
    expect(performance.now() - beganMs).toBeLessThan(5_000);
    expect(await rules()).toBe(before);
    expect((await connect(client.namespace, server.address, PORT, { timeoutMs: 1_000 })).outcome).toBe(
      "timeout",
    );
    await clientEnforcer.start();
  });
});

describe("reload", () => {
  const FLIPS = 1_000;
  const policies = ["8081", "8082"].map(
    (other) => `version: 1
policies:
  - name: all
    subject: {}
    ingress: [{ name: in, action: allow, from: [{}], ports: [{ port: 8080 }, { port: ${other} }] }]
    egress: [{ name: out, action: allow, to: [{}] }]
`,
  );
  const lab = new Lab();
  let pair: Pair;

  beforeAll(async () => {
    pair = await createPair(lab, { mode: "psk", policy: policies[0] ?? "" });
    for (const port of [8080, 8083]) await startEchoServer(lab, pair.server.namespace, port);
  }, 60_000);
  afterAll(() => lab.close());

  test(`while the policy flips ${FLIPS} times, what both allow connects and what both refuse doesn't`, async () => {
    const { client, server, serverEnforcer } = pair;
    let isFlipping = true;
    const outcomes = { allowed: new Map<string, number>(), refused: new Map<string, number>() };
    const attempt = async (port: number, into: Map<string, number>, timeoutMs: number): Promise<void> => {
      while (isFlipping) {
        const { outcome } = await connect(client.namespace, server.address, port, { timeoutMs });
        into.set(outcome, (into.get(outcome) ?? 0) + 1);
      }
    };
    const clients = [attempt(8080, outcomes.allowed, 5_000), attempt(8083, outcomes.refused, 300)];
    for (let flip = 0; flip < FLIPS; flip += 1) {
      serverEnforcer.writePolicy(policies[(flip + 1) % 2] ?? "");
      serverEnforcer.reload();
      // The first policy was the first generation.
      const isLoaded = (): boolean => serverEnforcer.log.includes(`"generation":${flip + 2},`);
      await waitFor(`flip ${flip}`, isLoaded, 5_000, 2);
    }
    isFlipping = false;
    await Promise.all(clients);
    expect([...outcomes.allowed.keys()]).toEqual(["connected"]);
    expect([...outcomes.refused.keys()]).toEqual(["timeout"]);
  }, 120_000);
});
