/** Owns the command line of `trireme`: its sub-commands, and what becomes of wrong usage. */
import { Command, CommanderError } from "commander";
import { enforcerVersion } from "../version.ts";
import { exitCodes, type CommandEnvironment } from "./command-environment.ts";
import { registerEnforcerCommand } from "./enforcer.ts";
import { registerFlowsCommand } from "./flows.ts";
import { registerKeysCommands } from "./keys.ts";
import { registerPolicyCommands } from "./policy.ts";
import { registerReleaseCommand } from "./release.ts";
import { registerStatusCommand } from "./status.ts";

/** Runs one command line (without program names). Rejects for defects only. */
export async function runTrireme(argv: readonly string[], environment: CommandEnvironment): Promise<void> {
  try {
    await createProgram(environment).parseAsync(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // commander has already said what is wrong, or printed what was asked for.
    environment.setExitCode(error.exitCode === 0 ? exitCodes.done : exitCodes.usage);
  }
}

function createProgram(environment: CommandEnvironment): Command {
  const program = new Command("trireme")
    .description("trireme-cni: connections between pods, authorised by cryptographic identity")
    .version(enforcerVersion, "--version", "print the version")
    .helpOption("-h, --help", "print help")
    .showHelpAfterError("(trireme COMMAND --help shows what is there)")
    .addHelpText(
      "after",
      "\nExit codes: 0 done, valid or allowed; 1 failed or invalid; 2 wrong usage; 3 denied (policy test);\n" +
        "4 enforcer unreachable.",
    )
    .exitOverride()
    .configureOutput({ writeOut: environment.stdout, writeErr: environment.stderr });
  registerStatusCommand(program, environment);
  registerFlowsCommand(program, environment);
  registerPolicyCommands(program, environment);
  registerKeysCommands(program, environment);
  registerReleaseCommand(program, environment);
  registerEnforcerCommand(program, environment);
  return program;
}
