/** A lab disappears however its process ends: by itself, by an error, by exit, or by a signal in the middle of making things. */
import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { nodeBinary } from "./binaries.ts";
import { BackgroundProcess, sleep } from "./command.ts";

const program = `
import { withLab } from ${JSON.stringify(join(import.meta.dirname, "lab.ts"))};
await withLab(async (lab) => {
  const namespace = await lab.addNamespace("first");
  lab.start(namespace, ["sleep", "1000"]);
  console.log("lab", lab.id, lab.folder);
  for (let i = 0; i < Number(process.argv[2]); i++) await lab.addNamespace(String(i));
  if (process.argv[1] === "throw") throw new Error("on purpose");
  if (process.argv[1] === "exit") process.exit(7);
});
`;

const cases: { name: string; many: number; signal?: NodeJS.Signals; status: number }[] = [
  { name: "return", many: 2, status: 0 },
  { name: "throw", many: 2, status: 1 },
  { name: "exit", many: 2, status: 7 },
  { name: "SIGINT", many: 1000, signal: "SIGINT", status: 130 },
  { name: "SIGTERM", many: 1000, signal: "SIGTERM", status: 130 },
];

test.each(cases)("$name leaves nothing", async ({ name, many, signal, status }) => {
  const argv = [nodeBinary, "--input-type=module", "-e", program, name, String(many)];
  const maker = new BackgroundProcess(argv);
  const [, id = "", folder = ""] = await maker.waitForOutput(/^lab (\S+) (\S+)$/m);
  if (signal !== undefined) {
    expect(readdirSync("/run/netns").filter((entry) => entry.startsWith(`${id}-`))).not.toEqual([]);
    expect(existsSync(folder)).toBe(true);
    await sleep(100);
    maker.child.kill(signal);
  }
  expect(await maker.exited).toBe(status);
  expect(readdirSync("/run/netns").filter((entry) => entry.startsWith(`${id}-`))).toEqual([]);
  expect(readdirSync(tmpdir()).filter((entry) => entry.startsWith(id))).toEqual([]);
});
