/** Owns `trireme release`: takes our rules out of running pods, by the enforcer, or without it where it is dead. */
import type { Command } from "commander";
import { closeFd, netnsCookie, openNetns } from "../../netlink/netns.ts";
import { ControlClient } from "../control/client.ts";
import type { ReleaseAnswer } from "../control/operator-messages.ts";
import type { PuRecord } from "../control/pu-record.ts";
import { RegistryFolder } from "../control/registry-folder.ts";
import { noteRelease } from "../control/release-journal.ts";
import { releaseRules } from "../daemon/namespace-rules.ts";
import { OperationError } from "../operation-error.ts";
import { exitCodes, reporting, type CommandEnvironment } from "./command-environment.ts";
import { addLocationOptions, locate, type LocationOptions } from "./locations.ts";

interface ReleaseOptions extends LocationOptions {
  readonly all?: true;
  readonly yes?: true;
  readonly json?: true;
}

export function registerReleaseCommand(program: Command, environment: CommandEnvironment): void {
  const command = program
    .command("release")
    .description("take our rules out of running pods; works with the enforcer dead, too")
    .argument("[pu]", "the processing unit's id, as `trireme status` lists it");
  addLocationOptions(command)
    .option("--state <folder>", "registry folder, used where the enforcer is dead")
    .option("--all", "all processing units of this node")
    .option("--yes", "don't ask")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nA released pod is open: whatever can reach it, may. It stays so until it is started anew.",
    )
    .action((pu: string | undefined, options: ReleaseOptions) =>
      reporting(environment, "release", () => release(pu, options, environment)),
    );
}

async function release(
  pu: string | undefined,
  options: ReleaseOptions,
  environment: CommandEnvironment,
): Promise<void> {
  const puId = checkChoice(pu, options);
  if (!(await isConfirmed(puId, options, environment))) {
    throw new OperationError("usage", "release", "not confirmed; nothing was changed");
  }
  const { socket, state } = locate(options);
  const answer = await releaseByEnforcer(socket, puId).catch((error: unknown) => {
    if (!(error instanceof OperationError) || error.code !== "unreachable") throw error;
    environment.stderr(`${error.message}; releasing by the registry in ${state}\n`);
    return releaseByRegistry(state, puId, environment.nowWallMs());
  });
  print(answer, options, environment);
}

function checkChoice(pu: string | undefined, { all }: ReleaseOptions): string | undefined {
  if ((pu === undefined) === (all === undefined)) {
    throw new OperationError("usage", "release", "name one processing unit, or give --all");
  }
  if (pu !== undefined && !/^[0-9a-f]{16}$/.test(pu)) {
    throw new OperationError("usage", "release", `${pu} is no id of a processing unit: 16 hex digits`);
  }
  return pu;
}

async function isConfirmed(
  puId: string | undefined,
  { yes }: ReleaseOptions,
  { ask, stderr }: CommandEnvironment,
): Promise<boolean> {
  const what = puId === undefined ? "ALL processing units of this node" : `processing unit ${puId}`;
  stderr(`WARNING: this opens ${what}: what reaches them is no longer judged\n`);
  if (yes) return true;
  if (ask === undefined) throw new OperationError("usage", "release", "nobody is there to ask: give --yes");
  return /^y(es)?$/i.test((await ask("Release? [y/N] ")).trim());
}

async function releaseByEnforcer(socket: string, puId: string | undefined): Promise<ReleaseAnswer> {
  const client = await ControlClient.connect(socket);
  try {
    return (await client.ask({
      op: "release",
      ...(puId === undefined ? {} : { puId }),
    })) as unknown as ReleaseAnswer;
  } finally {
    client.close();
  }
}

function releaseByRegistry(state: string, puId: string | undefined, nowWallMs: number): ReleaseAnswer {
  const folder = RegistryFolder.open(state);
  const failures: { puId: string; message: string }[] = [];
  const released: string[] = [];
  const loaded = folder.load();
  const records = loaded.flatMap((one) => (one.ok ? [one.record] : []));
  for (const one of loaded) if (!one.ok) failures.push({ puId: one.file, message: one.problem });
  for (const record of records) {
    if (puId !== undefined && record.id !== puId) continue;
    const others = records.filter(({ netnsCookie, id }) => netnsCookie === record.netnsCookie && id !== puId);
    const problem = releaseOne(folder, record, puId === undefined ? undefined : others, nowWallMs);
    if (problem === undefined) released.push(record.id);
    else failures.push({ puId: record.id, message: problem });
  }
  if (puId !== undefined && released.length + failures.length === 0) {
    throw new OperationError("not-found", "release", `no PU ${puId} in ${state}`);
  }
  return { released, failures };
}

function releaseOne(
  folder: RegistryFolder,
  record: PuRecord,
  staying: readonly PuRecord[] | undefined,
  nowWallMs: number,
): string | undefined {
  try {
    removeRulesOf(record, staying);
    noteRelease(folder.path, record.id, new Date(nowWallMs).toISOString());
    folder.remove(record.id);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function removeRulesOf(
  { id, netnsPath, netnsCookie: cookie }: PuRecord,
  staying: readonly PuRecord[] | undefined,
): void {
  const fd = openNetns(netnsPath);
  try {
    if (netnsCookie(fd).toString() !== cookie) throw new Error(`${netnsPath} is another namespace now`);
    releaseRules(fd, id, staying);
  } finally {
    closeFd(fd);
  }
}

function print(answer: ReleaseAnswer, { json }: ReleaseOptions, environment: CommandEnvironment): void {
  const { released, failures } = answer;
  if (json) environment.stdout(`${JSON.stringify({ version: 1, released, failures }, undefined, 2)}\n`);
  else
    environment.stdout(
      released.length === 0 ? "nothing released\n" : released.map((id) => `released ${id}\n`).join(""),
    );
  for (const { puId, message } of failures) environment.stderr(`trireme release: ${puId}: ${message}\n`);
  if (failures.length > 0) environment.setExitCode(exitCodes.failed);
}
