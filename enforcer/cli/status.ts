/** Owns `trireme status`: the enforcer, its processing units and its counters, for people and as JSON. */
import type { Command } from "commander";
import { ControlClient } from "../control/client.ts";
import type { ListEnd, PuDocument, StatusDocument } from "../control/operator-messages.ts";
import { reasonTexts } from "../reason.ts";
import { reporting, type CommandEnvironment } from "./command-environment.ts";
import { addLocationOptions, locate, type LocationOptions } from "./locations.ts";
import { formatDuration } from "./duration.ts";
import { formatAttributes, formatTable, plain } from "./text-table.ts";

interface StatusOptions extends LocationOptions {
  readonly json?: true;
}

export function registerStatusCommand(program: Command, environment: CommandEnvironment): void {
  const command = program
    .command("status")
    .description("show the enforcer, its processing units (PUs) and its counters");
  addLocationOptions(command)
    .option("--json", "print one JSON document")
    .action((options: StatusOptions) => reporting(environment, "status", () => status(options, environment)));
}

async function status(options: StatusOptions, environment: CommandEnvironment): Promise<void> {
  const { socket } = locate(options);
  const document = await fetchStatus(socket);
  if (options.json) environment.stdout(`${JSON.stringify(document, undefined, 2)}\n`);
  else environment.stdout(formatStatus(document, environment.nowWallMs()));
}

/** Asks the enforcer at `socket`. Rejects with `OperationError`. */
async function fetchStatus(socket: string): Promise<StatusDocument> {
  const client = await ControlClient.connect(socket);
  try {
    const pus: PuDocument[] = [];
    const end = await client.stream({ op: "list" }, (item) => pus.push(item as PuDocument));
    const { enforcer, counters, warnings } = end as ListEnd;
    return { version: 1, enforcer, pus, counters, warnings };
  } finally {
    client.close();
  }
}

/** The status as people read it. */
export function formatStatus({ enforcer, pus, counters, warnings }: StatusDocument, nowMs: number): string {
  const up = formatDuration(nowMs - Date.parse(enforcer.startedAt));
  return [
    `enforcer ${enforcer.version}, up ${up}\n`,
    ...warnings.map((warning) => `WARNING: ${plain(warning)}\n`),
    "\n",
    pus.length === 0 ? "no processing units\n" : formatPus(pus, nowMs),
    "\n",
    Object.keys(counters).length === 0 ? "nothing counted yet\n" : formatCounters(counters),
  ].join("");
}

function formatPus(pus: readonly PuDocument[], nowMs: number): string {
  const rows = pus.map((pu) => [
    pu.id,
    pu.network,
    pu.containerId.slice(0, 12),
    pu.ifname,
    pu.addresses.join(","),
    formatDuration(nowMs - Date.parse(pu.enforcedSince)),
    formatAttributes(pu.attributes),
  ]);
  return formatTable(["PU", "NETWORK", "CONTAINER", "IF", "ADDRESSES", "ENFORCED", "ATTRIBUTES"], rows);
}

function formatCounters(counters: Readonly<Record<string, number>>): string {
  const texts: Readonly<Record<string, string>> = reasonTexts;
  const rows = Object.entries(counters)
    .sort(([, a], [, b]) => b - a)
    .map(([reason, count]) => [String(count), reason, texts[reason] ?? ""]);
  return formatTable(["COUNT", "REASON", "MEANING"], rows);
}
