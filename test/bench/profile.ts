/** Where the worker's time goes: `node test/bench/profile.ts [psk|pki] [seconds]`, with both enforcers run from source by node --cpu-prof. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { nodeBinary, repository, triremeBinary } from "../harness/binaries.ts";
import { withLab } from "../harness/lab.ts";
import { createPair } from "../integration/pair.ts";
import { prepareForLoad } from "./contestants.ts";
import { compilePrograms, runLoad, startLoadServer } from "./programs.ts";

const profileFolder = join(repository, "build/profile");
const ROWS = 30;
/** Until what runs often has been compiled. */
const warmUp = { concurrency: 32, count: 12_000, seconds: 10 };

/** What V8 writes: a tree of call frames, and which node each sample met. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  /** µs before each sample. */
  readonly timeDeltas: readonly number[];
}

/** The harness starts whatever TRIREME names: the daemon from source under the profiler, everything else as it was built. */
function writeLauncher(folder: string): string {
  const path = join(folder, "trireme");
  const source = join(repository, "enforcer/main.ts");
  const profiled = `${nodeBinary} --cpu-prof --cpu-prof-interval=200 --cpu-prof-dir=${profileFolder} ${source}`;
  const built = triremeBinary();
  writeFileSync(path, `#!/bin/sh\n[ "$1" = enforcer ] && exec ${profiled} "$@"\nexec ${built} "$@"\n`);
  chmodSync(path, 0o755);
  return path;
}

async function record(mode: "psk" | "pki", seconds: number): Promise<number> {
  let done = 0;
  await withLab(async (lab) => {
    process.env["TRIREME"] = writeLauncher(lab.folder);
    const pair = await createPair(lab, { mode });
    const { client, server } = pair;
    await prepareForLoad([client.namespace, server.namespace]);
    await startLoadServer(lab, [server.namespace]);
    await runLoad(client.namespace, [server.address], warmUp);
    const options = { concurrency: 32, count: 2_000_000, seconds };
    ({ done } = await runLoad(client.namespace, [server.address], options));
    for (const enforcer of [pair.clientEnforcer, pair.serverEnforcer]) await enforcer.stop();
  });
  return done;
}

/** Self time in µs by a key of the call frame, of all workers (the profiles that know datapath.ts), in their last `seconds`. */
function selfTimes(
  seconds: number,
  keyOf: (frame: CpuProfile["nodes"][number]["callFrame"]) => string,
): Map<string, number> {
  const times = new Map<string, number>();
  for (const name of readdirSync(profileFolder)) {
    const text = readFileSync(join(profileFolder, name), "utf8");
    if (!text.includes("datapath/datapath.ts")) continue;
    const profile = JSON.parse(text) as CpuProfile;
    const keys = new Map(profile.nodes.map(({ id, callFrame }) => [id, keyOf(callFrame)]));
    let leftUs = profile.timeDeltas.reduce((sum, us) => sum + us, 0);
    profile.samples.forEach((id, index) => {
      const us = profile.timeDeltas[index] ?? 0;
      leftUs -= us;
      const key = keys.get(id) ?? "";
      if (key !== "(idle)" && leftUs < seconds * 1e6) times.set(key, (times.get(key) ?? 0) + us);
    });
  }
  return times;
}

function fileOf(url: string): string {
  return url.startsWith("file:") ? relative(repository, fileURLToPath(url)) : url;
}

function print(title: string, times: Map<string, number>, connections: number): void {
  const total = [...times.values()].reduce((sum, us) => sum + us, 0);
  process.stdout.write(`${title}: ${(total / connections).toFixed(1)} µs a connection, of both workers\n`);
  const rows = [...times].sort(([, a], [, b]) => b - a).slice(0, ROWS);
  for (const [key, us] of rows) {
    const share = ((100 * us) / total).toFixed(1).padStart(5);
    process.stdout.write(`${share} %  ${(us / connections).toFixed(2).padStart(6)} µs  ${key}\n`);
  }
}

async function main(): Promise<void> {
  const mode = process.argv[2] === "psk" ? "psk" : "pki";
  rmSync(profileFolder, { recursive: true, force: true });
  mkdirSync(profileFolder, { recursive: true });
  await compilePrograms();
  const seconds = Number(process.argv[3] ?? 5);
  const connections = await record(mode, seconds);
  const byFile = selfTimes(seconds, ({ functionName, url }) => (url === "" ? functionName : fileOf(url)));
  const byFunction = selfTimes(seconds, ({ functionName, url, lineNumber }) =>
    url === "" ? functionName : `${functionName} ${basename(fileOf(url))}:${lineNumber + 1}`,
  );
  print(`${mode}, by file`, byFile, connections);
  print(`${mode}, by function`, byFunction, connections);
}

await main();
