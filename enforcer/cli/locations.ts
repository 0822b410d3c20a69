/** Owns where the operator's commands find the enforcer: flags first, then its configuration file, then the defaults. */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { readConfig } from "../config/config-file.ts";

export const defaultPaths = {
  config: "/etc/trireme/enforcer.yaml",
  socket: "/run/trireme/enforcer.sock",
  state: "/run/trireme/state",
  policy: "/etc/trireme/policy.yaml",
  keys: "/etc/trireme/keys",
} as const;

export interface LocationOptions {
  readonly config?: string;
  readonly socket?: string;
  readonly state?: string;
}

/** Adds `--socket` and `--config` to a command that speaks to the enforcer. */
export function addLocationOptions(command: Command): Command {
  return command
    .option(
      "--socket <path>",
      `the enforcer's control socket (default: the configuration's, or ${defaultPaths.socket})`,
    )
    .option(
      "--config <file>",
      `the enforcer's configuration (default: ${defaultPaths.config}, if it is there)`,
    );
}

/** The socket and the registry folder to use. Throws `OperationError` if a configuration is named, or needed, and wrong. */
export function locate(options: LocationOptions): { socket: string; state: string } {
  if (options.socket !== undefined && options.state !== undefined) {
    return { socket: options.socket, state: options.state };
  }
  const file = options.config ?? defaultPaths.config;
  const isUsed = options.config !== undefined || (options.socket === undefined && existsSync(file));
  const configured = isUsed ? readConfig(file, {}) : defaultPaths;
  return { socket: options.socket ?? configured.socket, state: options.state ?? configured.state };
}
