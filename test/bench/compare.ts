/**
 * Enforcers that were built (and copied) before, side by side in interleaved rounds: what a change of the datapath brings shows here, also on
 * a machine that does other things.
 *
 *   node test/bench/compare.ts [--rounds N] [--seconds S] [--mode psk|pki] TRIREME TRIREME…
 *
 * `reader` in place of a TRIREME is the accept-all reader in C. The first is what the others are compared with.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { Lab } from "../harness/lab.ts";
import { createPair } from "../integration/pair.ts";
import { prepareForLoad, readerPair } from "./contestants.ts";
import { cpuUs, residentMb } from "./process-cost.ts";
import { compilePrograms, runLoad, startLoadServer } from "./programs.ts";
import { BenchRecord } from "./record.ts";

const COUNT_MAX = 400_000;
const warmUp = { concurrency: 32, count: 12_000, seconds: 8 };

interface Compared {
  readonly name: string;
  readonly client: string;
  readonly server: { readonly namespace: string; readonly address: string };
  readonly readers: readonly number[];
}

async function make(lab: Lab, name: string, mode: "psk" | "pki"): Promise<Compared> {
  if (name === "reader") {
    const { client, server, readers } = await readerPair(lab);
    return { name, client: client.namespace, server, readers };
  }
  process.env["TRIREME"] = resolve(name);
  const { client, server, clientEnforcer, serverEnforcer } = await createPair(lab, { mode });
  return {
    name,
    client: client.namespace,
    server,
    readers: [clientEnforcer.pid ?? 0, serverEnforcer.pid ?? 0],
  };
}

async function warm(lab: Lab, { client, server }: Compared): Promise<void> {
  await prepareForLoad([client, server.namespace]);
  await startLoadServer(lab, [server.namespace]);
  await runLoad(client, [server.address], warmUp);
}

async function measure(record: BenchRecord, one: Compared, first: string, seconds: number): Promise<void> {
  const { name, client, server, readers } = one;
  const cpu = () => readers.reduce((total, pid) => total + cpuUs(pid), 0);
  for (const concurrency of [1, 32]) {
    const before = cpu();
    const result = await runLoad(client, [server.address], { concurrency, count: COUNT_MAX, seconds });
    const add = (what: string, unit: string, value: number) => {
      const title = `${what}, at ${concurrency}`;
      record.add(title, { title, unit, against: [first] }, name, value);
    };
    add("connect p50", "µs", result.connectUs.p50);
    add("rate", "/s", result.done / result.seconds);
    add("CPU of both a connection", "µs", (cpu() - before) / result.done);
  }
  const memory = readers.reduce((total, pid) => total + residentMb(pid), 0) / readers.length;
  record.add("memory", { title: "RSS of one", unit: "MB", against: [first] }, name, memory);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: "string", default: "7" },
      seconds: { type: "string", default: "1.5" },
      mode: { type: "string", default: "pki" },
    },
  });
  const [first = ""] = positionals;
  const record = new BenchRecord();
  const labs = positionals.map(() => new Lab());
  try {
    await compilePrograms();
    const compared: Compared[] = [];
    for (const [index, lab] of labs.entries()) {
      const one = await make(lab, positionals[index] ?? "", values.mode === "psk" ? "psk" : "pki");
      await warm(lab, one);
      compared.push(one);
    }
    for (let round = 0; round < Number(values.rounds); round++)
      for (const one of [
        ...compared.slice(round % compared.length),
        ...compared.slice(0, round % compared.length),
      ])
        await measure(record, one, first, Number(values.seconds));
  } finally {
    for (const lab of labs) await lab.close();
  }
  process.stdout.write(`${record.toText()}\n`);
}

await main();
