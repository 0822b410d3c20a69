/** Owns how `trireme keys` talks: options that all sub-commands share, output as text or JSON. */
import type { Command } from "commander";
import type { CommandEnvironment } from "./command-environment.ts";
import { plain } from "./text-table.ts";

export interface ReportOptions {
  readonly json?: true;
}

/** A flat document; a member that is undefined is left out. */
export type KeysReport = Readonly<Record<string, string | number | boolean | object | undefined>>;

const labelWidth = 18;

export function addJsonOption(command: Command): Command {
  return command.option("--json", "print one JSON document");
}

/** `name: value` lines, or one JSON document. */
export function report(options: ReportOptions, environment: CommandEnvironment, made: KeysReport): void {
  const json = `${JSON.stringify({ version: 1, ...made }, undefined, 2)}\n`;
  environment.stdout(options.json ? json : formatLines(made));
}

function formatLines(made: KeysReport): string {
  const rows = Object.entries(made).filter(([, value]) => value !== undefined);
  return rows
    .map(([name, value]) => `${`${words(name)}:`.padEnd(labelWidth)}${plain(flat(value))}\n`)
    .join("");
}

/** camelCase as words. */
const words = (name: string): string => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** Lists and `key=value` members in one line. */
function flat(value: unknown): string {
  if (Array.isArray(value)) return value.map(flat).join(", ");
  if (typeof value !== "object" || value === null) return String(value);
  return Object.entries(value)
    .map(([key, one]) => `${key}=${flat(one)}`)
    .join(", ");
}
