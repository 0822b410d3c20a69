/** One control socket, and several enforcers that start at the same instant over the socket file of a dead one. */
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pluginBinary, triremeBinary } from "../harness/binaries.ts";
import { CniChain } from "../harness/cni-chain.ts";
import { createCluster, type Node } from "../harness/cluster.ts";
import { waitFor, type BackgroundProcess } from "../harness/command.ts";
import { Enforcer, newPsk } from "../harness/enforcer.ts";
import { Lab } from "../harness/lab.ts";

const CONTENDERS = 4;
const ROUNDS = 5;
const lab = new Lab();
let node: Node;

beforeAll(async () => {
  node = await (await createCluster(lab)).addNode("node-a");
  const enforcer = new Enforcer(node);
  enforcer.writePsk(newPsk());
  enforcer.writePolicy("version: 1\npolicies: []\n");
}, 60_000);
afterAll(() => lab.close());

function isHeard(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => resolve(true));
    socket.on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}

test(`of ${CONTENDERS} that are let go at once one gets the place, and it can be reached; ${ROUNDS} times over the file of a killed one`, async () => {
  const path = join(lab.folder, "run", "enforcer.sock");
  const program = fileURLToPath(new URL("programs/contender.ts", import.meta.url));
  const start = (): BackgroundProcess => lab.start(undefined, [process.execPath, program, path]);
  const contenders = Array.from({ length: CONTENDERS }, start);
  for (let round = 0; round < ROUNDS; round += 1) {
    await waitFor("the contenders", () => contenders.every(({ stdout }) => stdout.startsWith("ready\n")));
    const before = contenders.map(({ stdout }) => stdout.length);
    const said = (): string[] => contenders.map(({ stdout }, index) => stdout.slice(before[index]));
    for (const { child } of contenders) child.stdin?.write("go\n");
    await waitFor("their answers", () => said().every((text) => text.endsWith("\n")));
    const winners = contenders.filter((_, index) => said()[index] === "listening\n");
    const refused = said().filter((text) => text.includes("another enforcer has"));
    expect([winners.length, refused.length], said().join()).toEqual([1, CONTENDERS - 1]);
    expect(await isHeard(path)).toBe(true);

    const [winner] = winners as [BackgroundProcess];
    await winner.kill();
    expect([existsSync(path), await isHeard(path)]).toEqual([true, false]);
    contenders.splice(contenders.indexOf(winner), 1, start());
  }
}, 60_000);

test("of enforcers that start at once one lives, and the others exit with 1 and say why", async () => {
  const enforcer = new Enforcer(node);
  await enforcer.start();
  await enforcer.kill();
  expect(existsSync(enforcer.socket)).toBe(true);
  const files = [
    "--state",
    enforcer.stateFolder,
    "--policy",
    enforcer.policyFile,
    "--keys",
    enforcer.keysFolder,
  ];
  const argv = [triremeBinary(), "enforcer", "--config", enforcer.configFile, "--socket", enforcer.socket];
  const all = Array.from({ length: CONTENDERS }, () => lab.start(node.namespace, [...argv, ...files]));
  await waitFor(
    "all but one to end",
    () => all.filter(({ ended }) => ended).length === CONTENDERS - 1,
    30_000,
  );
  await waitFor("the one", async () => (await enforcer.trireme(["status"])).status === 0);
  for (const process of all.filter(({ ended }) => ended)) {
    expect([await process.exited, process.stdout + process.stderr]).toEqual([
      1,
      expect.stringContaining(`another enforcer has ${enforcer.socket}`),
    ]);
  }
  const living = all.filter(({ ended }) => !ended);
  expect(living).toHaveLength(1);
  await living[0]?.stop();
}, 60_000);

test("a lock file that is a link is refused, not followed", async () => {
  const enforcer = new Enforcer(node);
  const path = join(lab.folder, "linked", "enforcer.sock");
  writeFileSync(join(lab.folder, "elsewhere"), "");
  mkdirSync(join(lab.folder, "linked"), { mode: 0o700 });
  symlinkSync(join(lab.folder, "elsewhere"), `${path}.lock`);
  const argv = [triremeBinary(), "enforcer", "--config", enforcer.configFile, "--socket", path];
  const refused = lab.start(node.namespace, [...argv, "--keys", enforcer.keysFolder]);
  expect(await refused.exited).toBe(1);
  expect(refused.stdout + refused.stderr).toContain(`cannot use ${path}.lock`);
});

test("STATUS says 51, not 50, once the enforcer that is away has left pods, wherever its registry lies", async () => {
  const enforcer = new Enforcer(node);
  const plugin = { type: "trireme-cni", socket: enforcer.socket };
  const chain = new CniChain({ cniVersion: "1.1.0", name: "pods", plugins: [plugin] }, node.namespace, [
    dirname(pluginBinary()),
  ]);
  const status = async (): Promise<unknown> => {
    const attachment = { containerId: "", netnsPath: "", ifname: "" };
    const { stdout } = await chain.run("STATUS", plugin, attachment);
    return stdout === "" ? 0 : (JSON.parse(stdout) as { code: number }).code;
  };
  await enforcer.start();
  expect(dirname(enforcer.stateFolder)).not.toBe(dirname(enforcer.socket));
  expect(await status()).toBe(0);
  await enforcer.kill();
  expect(await status()).toBe(50);
  await enforcer.start();
  const pod = await node.addPod("pod", { app: "web" });
  await enforcer.kill();
  expect(await status()).toBe(51);
  expect(
    (await enforcer.trireme(["release", "--all", "--yes", "--state", enforcer.stateFolder])).status,
  ).toBe(0);
  expect(await status()).toBe(50);
  await pod.delete();
}, 60_000);
