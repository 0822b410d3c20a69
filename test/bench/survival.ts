/** SIGKILL of the server's enforcer: authorised connections go on, nobody else gets a byte through, and new ones soon work again. */
import { sleep } from "../harness/command.ts";
import { withLab } from "../harness/lab.ts";
import { createPair, type Pair } from "../integration/pair.ts";
import { prepareForLoad } from "./contestants.ts";
import { firstPort, runLoad, startHolding, startLoadServer } from "./programs.ts";
import type { BenchRecord } from "./record.ts";

/** The stranger's own side lets it dial anybody: the server's enforcer, which is killed, is what keeps it out. */
const policy = `version: 1
policies:
  - name: server
    subject: { matchLabels: { app: server } }
    ingress: [{ name: clients, action: allow, from: [{ matchLabels: { app: client } }] }]
  - name: all
    subject: {}
    egress: [{ name: out, action: allow, to: [{}] }]
`;

const STRANGER_PORT = firstPort + 1_000;
const TRIAL_MS = 50;
const DOWN_MS = 500;
const UP_MS = 1_500;

export async function measureSurvival(record: BenchRecord, kills: number): Promise<void> {
  await withLab(async (lab) => {
    const pair = await createPair(lab, { mode: "pki", policy });
    const stranger = await pair.clientEnforcer.node.addPod("stranger", { app: "stranger" });
    await prepareForLoad([pair.client.namespace, pair.server.namespace, stranger.namespace]);
    await startLoadServer(lab, [pair.server.namespace]);
    const forbidden = await startLoadServer(lab, [pair.server.namespace], 1, STRANGER_PORT);
    const seconds = 1 + kills * ((DOWN_MS + UP_MS) / 1_000 + 2);
    const holder = await startHolding(lab, pair.client.namespace, pair.server.address, seconds);
    const intruding = intrude(stranger.namespace, pair.server.address, seconds);
    const recoveries: number[] = [];
    for (let kill = 0; kill < kills; kill++) recoveries.push(await killAndStart(pair));
    const tried = await intruding;
    const heldStatus = await holder.exited;
    await forbidden.stop();
    const { bytes } = JSON.parse(forbidden.stdout.trim().split("\n").at(-1) ?? "") as { bytes: number };
    record.remark(
      `survival: ${kills} x SIGKILL; the stranger tried ${tried} connections; held: ${holder.stdout.trim().split("\n").at(-1) ?? ""}`,
    );
    record.atMost("payload bytes of a stranger delivered, enforcer killed meanwhile", bytes, 0);
    record.atMost("authorised connections cut by SIGKILL and restart", heldStatus === 0 ? 0 : 1, 0);
    record.atMost("first new connection after a start, s", Math.max(...recoveries), 1);
  });
}

/** Tries all the time; the count is how often. */
async function intrude(namespace: string, address: string, seconds: number): Promise<number> {
  const options = {
    concurrency: 32,
    count: 20_000,
    seconds,
    timeoutMs: 100,
    ports: 1,
    firstPort: STRANGER_PORT,
  };
  return (await runLoad(namespace, [address], options)).begun;
}

/** Kills the server's enforcer, leaves it dead for a while, starts it, and gives the seconds until a new connection works. */
async function killAndStart({ client, server, serverEnforcer }: Pair): Promise<number> {
  await sleep(Math.random() * 500);
  await serverEnforcer.kill();
  await sleep(DOWN_MS);
  const begun = performance.now();
  const starting = serverEnforcer.start();
  let seconds = Infinity;
  while (performance.now() - begun < 5_000) {
    const trial = { concurrency: 1, count: 1, seconds: 1, timeoutMs: TRIAL_MS };
    if ((await runLoad(client.namespace, [server.address], trial)).done === 1) {
      seconds = (performance.now() - begun) / 1_000;
      break;
    }
  }
  await starting;
  await sleep(UP_MS);
  return seconds;
}
