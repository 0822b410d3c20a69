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

/**
 * A copy of the source with one patch at a time. All of them in one place: what the runtime compiled of the other files it finds again,
 * which halves the start.
 */
export class PatchedSource {
  readonly #folder: string;
  readonly #cache: string;
  #applied: string | undefined;

  constructor(lab: Lab) {
    this.#folder = join(lab.folder, "source");
    this.#cache = join(lab.folder, "compile-cache");
    mkdirSync(this.#folder);
    for (const part of parts)
      cpSync(join(repository, part), join(this.#folder, part), { recursive: true, filter });
    cpSync(join(repository, "package.json"), join(this.#folder, "package.json"));
    symlinkSync(join(repository, "node_modules"), join(this.#folder, "node_modules"));
  }

  /** The command of the product with that check taken out: `trireme`, from source. What runs of another patch has to be ended before. */
  async without(patch: string): Promise<readonly string[]> {
    if (this.#applied !== undefined) await applyPatch(this.#applied, this.#folder, "--reverse");
    this.#applied = undefined;
    await applyPatch(patch, this.#folder);
    this.#applied = patch;
    const environment = ["/usr/bin/env", `NODE_COMPILE_CACHE=${this.#cache}`];
    return [...environment, nodeBinary, join(this.#folder, "enforcer/main.ts")];
  }
}

/** Not what was built for the registry. */
function filter(source: string): boolean {
  return !relative(repository, source).split(sep).includes("dist");
}
