/** Owns how `trireme keys` talks: options that all sub-commands share, output as text or JSON, and exit codes. */
import type { Command } from "commander";
import { OperationError } from "../operation-error.ts";

/** What the commands touch of the process; exit codes are 0 done or valid, 1 failed or invalid, 2 usage. */
export interface KeysCommandEnvironment {
  readonly stdin: () => Promise<Buffer>;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  readonly setExitCode: (code: number) => void;
  /** Wall clock. */
  readonly nowWallMs: () => number;
}

export interface ReportOptions {
  readonly json?: true;
}

/** A flat document; a member that is undefined is left out. */
export type KeysReport = Readonly<Record<string, string | number | boolean | object | undefined>>;

const labelWidth = 18;

export function addJsonOption(command: Command): Command {
  return command.option("--json", "print one JSON document");
}

/** Runs an action; an operational failure becomes one line and exit code 1, or 2 where the command was used wrongly. */
export async function reporting(
  environment: KeysCommandEnvironment,
  name: string,
  action: () => Promise<void>,
): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof OperationError)) throw error;
    environment.stderr(`trireme keys ${name}: ${error.message}\n`);
    environment.setExitCode(error.code === "usage" ? 2 : 1);
  }
}

/** `name: value` lines, or one JSON document. */
export function report(options: ReportOptions, environment: KeysCommandEnvironment, made: KeysReport): void {
  const json = `${JSON.stringify({ version: 1, ...made }, undefined, 2)}\n`;
  environment.stdout(options.json ? json : formatLines(made));
}

function formatLines(made: KeysReport): string {
  const rows = Object.entries(made).filter(([, value]) => value !== undefined);
  return rows.map(([name, value]) => `${`${words(name)}:`.padEnd(labelWidth)}${plain(value)}\n`).join("");
}

/** camelCase as words. */
const words = (name: string): string => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** Some values come from strangers' tokens: nothing of them may steer a terminal. */
function plain(value: KeysReport[string]): string {
  return flat(value).replace(
    /\p{C}/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16) ?? ""}}`,
  );
}

/** Lists and `key=value` members in one line. */
function flat(value: unknown): string {
  if (Array.isArray(value)) return value.map(flat).join(", ");
  if (typeof value !== "object" || value === null) return String(value);
  return Object.entries(value)
    .map(([key, one]) => `${key}=${flat(one)}`)
    .join(", ");
}
