/** Connections over a path that loses 3 % of packets each way: how many fail with us, and how many without. */
import { execOk } from "../harness/lab.ts";
import type { Contestant } from "./contestants.ts";
import { runLoad } from "./programs.ts";
import type { BenchRecord } from "./record.ts";

export interface LossPlan {
  readonly rounds: number;
  /** Of each contestant in each round. */
  readonly connections: number;
}

const TIMEOUT_MS = 5_000;
const CONCURRENCY = 64;

/** A counter for each way shows what was sent and what was lost. */
const rules = `table inet loss {
  chain forward {
    type filter hook forward priority 0; policy accept;
    iifname "n1" counter comment "there"
    iifname "n1" numgen random mod 100 < 3 counter drop comment "lost there"
    iifname "n2" counter comment "back"
    iifname "n2" numgen random mod 100 < 3 counter drop comment "lost back"
  }
}
`;

const measure = {
  title: `failed connections, 3 % loss each way, ${TIMEOUT_MS / 1000} s time-out`,
  unit: "a round",
  against: [],
};

export async function measureLoss(
  record: BenchRecord,
  contestants: readonly Contestant[],
  plan: LossPlan,
): Promise<void> {
  const lossy = contestants.filter(({ name }) => ["none", "psk", "pki"].includes(name));
  for (const { cluster } of lossy) await execOk(cluster.router, ["nft", "-f", "-"], { input: rules });
  for (let round = 0; round < plan.rounds; round++)
    for (const contestant of lossy)
      record.add("loss", measure, contestant.name, await failures(contestant, plan.connections));
  for (const { name, cluster } of lossy) {
    record.remark(`loss, ${name}: ${await counters(cluster.router)}`);
    await execOk(cluster.router, ["nft", "delete", "table", "inet", "loss"]);
  }
  const total = (name: string) => record.values("loss", name).reduce((sum, value) => sum + value, 0);
  const limit = total("none") + 3;
  for (const name of ["psk", "pki"])
    record.atMost(`failures at 3 % loss, ${name}, ${plan.rounds} x ${plan.connections}`, total(name), limit);
}

async function failures({ client, server }: Contestant, count: number): Promise<number> {
  const options = { concurrency: CONCURRENCY, count, seconds: 120, timeoutMs: TIMEOUT_MS };
  const result = await runLoad(client.namespace, [server.address], options);
  if (result.begun !== count) throw new Error(`only ${result.begun} of ${count} connections were begun`);
  return result.begun - result.done;
}

async function counters(router: string): Promise<string> {
  const listed = await execOk(router, ["nft", "list", "table", "inet", "loss"]);
  const packets = [...listed.matchAll(/counter packets (\d+)/g)].map(([, count]) => Number(count));
  const [there = 0, lostThere = 0, back = 0, lostBack = 0] = packets;
  if (lostThere === 0 || lostBack === 0) throw new Error("the router lost nothing");
  const share = (lost: number, sent: number) => `${((100 * lost) / sent).toFixed(1)} %`;
  return (
    `${lostThere} of ${there} packets dropped on the way there (${share(lostThere, there)}), ` +
    `${lostBack} of ${back} on the way back (${share(lostBack, back)})`
  );
}
