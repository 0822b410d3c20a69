/** What goes on and what stops when the enforcer is killed, restarted or reloaded, and that bulk data never crosses a queue. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeBinary } from "../harness/binaries.ts";
import { waitFor, type BackgroundProcess } from "../harness/command.ts";
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

const MIB = 1_048_576;

/** Bytes that the pod has sent by its interface. */
async function sentBytes(namespace: string): Promise<number> {
  const [, counters = ""] = (await execOk(namespace, ["ip", "-s", "link", "show", "eth0"])).split(/TX:.*\n/);
  return Number(counters.trim().split(/\s+/)[0]);
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
    const counters = (): Promise<Map<number, number>[]> =>
      Promise.all([crossings(client.namespace), crossings(server.namespace)]);
    await lab
      .start(server.namespace, ["iperf3", "-s", "-p", "5201", "--forceflush"])
      .waitForOutput(/listening/i);
    const sentBefore = await sentBytes(client.namespace);
    const transfer = client.exec(
      ["iperf3", "-c", server.address, "-p", "5201", "-n", "1200M", "-C", "cubic"],
      {
        timeoutMs: 120_000,
      },
    );
    // Both connections of iperf3 are up once bytes flow; from here on there is 1 GiB to come.
    const isFlowing = async (): Promise<boolean> =>
      (await sentBytes(client.namespace)) - sentBefore > 10 * MIB;
    await waitFor("data", isFlowing, 30_000, 10);
    const before = await counters();
    const sentThen = await sentBytes(client.namespace);
    expect((await transfer).status).toBe(0);
    expect((await sentBytes(client.namespace)) - sentThen).toBeGreaterThan(1_024 * MIB);
    expect(await counters()).toEqual(before);
  }, 150_000);

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

const METRICS = "127.0.0.1:9477";

/** Prints the number of the policy in force whenever it has changed. */
const GENERATIONS = `
let last = "";
async function poll() {
  const text = await (await fetch("http://" + process.argv[1] + "/metrics")).text();
  const [, generation] = /^trireme_policy_generation (\\d+)$/m.exec(text) ?? [];
  if (generation !== undefined && generation !== last) console.log((last = generation));
  setTimeout(poll, 2);
}
poll();
`;

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
    pair = await createPair(lab, { mode: "psk", policy: policies[0] ?? "", metrics: METRICS });
    for (const port of [8080, 8083]) await startEchoServer(lab, pair.server.namespace, port);
  }, 60_000);
  afterAll(() => lab.close());

  test(`while the policy flips ${FLIPS} times, what both allow connects and what both refuse doesn't`, async () => {
    const { client, server, serverEnforcer } = pair;
    const generations = lab.start(serverEnforcer.node.namespace, [nodeBinary, "-e", GENERATIONS, METRICS]);
    await generations.waitForOutput(/^1$/m);
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
      await generations.waitForOutput(new RegExp(`^${flip + 2}$`, "m"), 10_000);
    }
    isFlipping = false;
    await Promise.all(clients);
    expect([...outcomes.allowed.keys()]).toEqual(["connected"]);
    expect([...outcomes.refused.keys()]).toEqual(["timeout"]);
  }, 120_000);

  test("a file of thousands of policies, right or wrong, is like a small one, and is there from the start", async () => {
    const { client, server, serverEnforcer } = pair;
    const others = Array.from({ length: 3_000 }, (_, index) => `  - { name: p${index}, subject: {} }\n`).join(
      "",
    );
    const open = async (port: number): Promise<string> =>
      (await connect(client.namespace, server.address, port, { timeoutMs: 1_000 })).outcome;
    const port8083 = (policies[0] ?? "").replace("8081", "8083");
    expect(await open(8083)).toBe("timeout");
    serverEnforcer.writePolicy(port8083 + others);
    await waitFor("the large policy", async () => (await open(8083)) === "connected", 30_000);
    serverEnforcer.writePolicy(`${policies[0] ?? ""}${others}  - { name: p7, subject: {} }\n`);
    await waitFor("its refusal", () => serverEnforcer.log.includes('"p7\\" is taken'), 30_000);
    expect(await open(8083)).toBe("connected");
    serverEnforcer.writePolicy(port8083 + others);
    await serverEnforcer.kill();
    await serverEnforcer.start(30_000);
    expect(await open(8083)).toBe("connected");
  }, 120_000);
});
