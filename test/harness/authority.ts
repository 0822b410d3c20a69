/** A cluster CA, made as an operator makes it: by `trireme keys`. */
import { cpSync } from "node:fs";
import { join } from "node:path";
import { triremeBinary } from "./binaries.ts";
import { runOk } from "./command.ts";
import type { Enforcer } from "./enforcer.ts";
import type { Lab } from "./lab.ts";

class Authority {
  readonly trustDomain: string;
  readonly #folder: string;
  readonly #privateFile: string;

  constructor(folder: string, privateFile: string, trustDomain: string) {
    this.#folder = folder;
    this.#privateFile = privateFile;
    this.trustDomain = trustDomain;
  }

  /** Gives an enforcer a node key, its certificate, and the CA's public key. `more`: further options of `trireme keys node`. */
  async issue(enforcer: Enforcer, more: readonly string[] = []): Promise<void> {
    const { keysFolder, node } = enforcer;
    cpSync(join(this.#folder, "ca"), join(keysFolder, "ca"), { recursive: true });
    const who = ["--node", node.name, "--trust-domain", this.trustDomain];
    const where = ["--keys", keysFolder, "--ca", this.#privateFile, "--force"];
    await runOk([triremeBinary(), "keys", "node", ...who, ...where, ...more]);
  }
}

/** Makes a CA in a folder of the lab's. */
export async function createAuthority(
  lab: Lab,
  name = "authority",
  trustDomain = "cluster.local",
): Promise<Authority> {
  const folder = join(lab.folder, name);
  const made = await runOk([triremeBinary(), "keys", "ca", "--keys", folder, "--json"]);
  const { privateFile } = JSON.parse(made) as { privateFile: string };
  return new Authority(folder, privateFile, trustDomain);
}
