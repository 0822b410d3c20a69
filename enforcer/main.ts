/** The program `trireme`: gives the command line the process's edges. */
import { createInterface } from "node:readline/promises";
import { buffer } from "node:stream/consumers";
import type { CommandEnvironment } from "./cli/command-environment.ts";
import { runTrireme } from "./cli/program.ts";

const environment: CommandEnvironment = {
  stdin: () => buffer(process.stdin),
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  setExitCode: (code) => {
    process.exitCode = code;
  },
  nowWallMs: Date.now,
  ask: process.stdin.isTTY ? ask : undefined,
};

async function ask(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await terminal.question(question);
  } finally {
    terminal.close();
  }
}

// `trireme flows --follow | head`: the reader has seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

void runTrireme(process.argv.slice(2), environment).catch((error: unknown) => {
  process.stderr.write(
    `trireme: a defect, please report it: ${error instanceof Error ? error.stack : String(error)}\n`,
  );
  process.exitCode = 1;
});
