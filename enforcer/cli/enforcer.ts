/** Owns `trireme enforcer`: the daemon's flags. */
import { type Command, Option } from "commander";
import type { ConfigFlags } from "../config/config.ts";
import { runDaemon } from "../daemon/run-daemon.ts";
import { reporting, type CommandEnvironment } from "./command-environment.ts";
import { defaultPaths } from "./locations.ts";

interface EnforcerOptions extends ConfigFlags {
  readonly config: string;
}

export function registerEnforcerCommand(program: Command, environment: CommandEnvironment): void {
  program
    .command("enforcer")
    .description("run the enforcer: the daemon that judges the connections of this node's pods")
    .option("--config <file>", "configuration", defaultPaths.config)
    .option("--socket <path>", `control socket (default: ${defaultPaths.socket})`)
    .option("--state <folder>", `registry of processing units (default: ${defaultPaths.state})`)
    .option("--policy <file>", `policy, read again when it changes (default: ${defaultPaths.policy})`)
    .option("--keys <folder>", `keys and certificates (default: ${defaultPaths.keys})`)
    .option("--metrics <addr:port>", "serve /metrics, /healthz and /readyz there (default: off)")
    .addOption(
      new Option("--log-level <level>", "least level logged").choices(["debug", "info", "warn", "error"]),
    )
    .addOption(new Option("--log-format <format>", "form of a log line").choices(["text", "json"]))
    .addHelpText(
      "after",
      "\nFlags beat the configuration. SIGHUP reads policy and keys again; SIGTERM ends the enforcer and leaves the\n" +
        "pods' rules in place: authorised connections go on, new ones wait for the next enforcer.",
    )
    .action(({ config, ...flags }: EnforcerOptions) =>
      reporting(environment, "enforcer", () => runDaemon(config, flags)),
    );
}
