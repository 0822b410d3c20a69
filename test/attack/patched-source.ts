/** The product's source with one patch, in a lab's folder, to be run by the pinned runtime; nothing of it is in what is shipped. */
import { cpSync, mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { nodeBinary, repository } from "../harness/binaries.ts";
import { runOk } from "../harness/command.ts";
import type { Lab } from "../harness/lab.ts";

/** What the daemon is made of; netlink/ has the addon, built. */
const parts = ["enforcer", "plugin", "netlink"];

const patchFolder = join(import.meta.dirname, "patches");

/** Names of the patches there are, without `.patch`. */
export function patchNames(): string[] {
  return readdirSync(patchFolder)
    .filter((name) => name.endsWith(".patch"))
    .map((name) => name.slice(0, -".patch".length));
}

export function patchFile(name: string): string {
  return join(patchFolder, `${name}.patch`);
}

/** `git apply`, which knows neither fuzz nor mercy; `--check` changes nothing. Throws unless the patch applies to the tree in `folder`. */
export async function applyPatch(name: string, folder: string, ...options: readonly string[]): Promise<void> {
  await runOk(["git", "apply", "--whitespace=nowarn", ...options, patchFile(name)], { cwd: folder });
}

/** The command of the product with that check taken out: `trireme`, from source. */
export async function patchedProgram(lab: Lab, patch: string): Promise<readonly string[]> {
  const folder = join(lab.folder, "patched", patch);
  copySource(folder);
  await applyPatch(patch, folder);
  return [nodeBinary, join(folder, "enforcer/main.ts")];
}

function copySource(folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const part of parts) cpSync(join(repository, part), join(folder, part), { recursive: true, filter });
  cpSync(join(repository, "package.json"), join(folder, "package.json"));
  symlinkSync(join(repository, "node_modules"), join(folder, "node_modules"));
}

/** Not what was built for the registry. */
function filter(source: string): boolean {
  return !relative(repository, source).split(sep).includes("dist");
}
