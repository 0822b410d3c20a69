/** Owns what the commands touch of the process, and what their failures mean to a shell. */
import { OperationError } from "../operation-error.ts";

/** The process's edges, injected. */
export interface CommandEnvironment {
  readonly stdin: () => Promise<Buffer>;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  readonly setExitCode: (code: number) => void;
  /** Wall clock, in milliseconds. */
  readonly nowWallMs: () => number;
  /** Asks a person a question; undefined where none is there to answer. */
  readonly ask: ((question: string) => Promise<string>) | undefined;
}

/** 0 done, valid or allowed; 1 failed or invalid; 2 usage; 3 denied (`policy test`); 4 enforcer unreachable. */
export const exitCodes = { done: 0, failed: 1, usage: 2, denied: 3, unreachable: 4 } as const;

/** Runs an action; an operational failure becomes a line on stderr and its exit code. */
export async function reporting(
  environment: CommandEnvironment,
  name: string,
  action: () => Promise<void> | void,
): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof OperationError)) throw error;
    environment.stderr(`trireme ${name}: ${error.message}\n`);
    environment.setExitCode(exitCodeOf(error));
  }
}

function exitCodeOf({ code }: OperationError): number {
  if (code === "unreachable" || code === "timeout") return exitCodes.unreachable;
  return code === "usage" ? exitCodes.usage : exitCodes.failed;
}
