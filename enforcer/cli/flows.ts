/** Owns `trireme flows`: decisions, recent and live, for people and as JSON lines. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { ControlClient } from "../control/client.ts";
import type { FlowDocument, FlowEndDocument, FlowsEnd } from "../control/operator-messages.ts";
import { reporting, type CommandEnvironment } from "./command-environment.ts";
import { compileFilter, type FlowFilter, type FlowFilterOptions } from "./flow-filter.ts";
import { addLocationOptions, locate, type LocationOptions } from "./locations.ts";
import { formatAttributes, formatRow, formatTable, plain } from "./text-table.ts";

interface FlowsOptions extends LocationOptions, FlowFilterOptions {
  readonly follow?: true;
  readonly last?: number;
  readonly json?: true;
}

export function registerFlowsCommand(program: Command, environment: CommandEnvironment): void {
  const command = program
    .command("flows")
    .description("show decisions: the recent ones, and with --follow each new one");
  addLocationOptions(command)
    .option("-f, --follow", "go on with each new decision")
    .option("-n, --last <count>", "at most so many of the recent ones", parseCount)
    .option("--since <duration>", "not older than this: 30s, 5m, 2h, 1d")
    .addOption(new Option("--verdict <verdict>", "only these").choices(["allow", "deny"]))
    .option("--reason <reason>", "only these, such as no-rule")
    .option("--rule <name>", "only decisions of this policy, or of this policy/rule")
    .option("--from <end>", "only from key=value, an address, or a PU")
    .option("--to <end>", "only to key=value, an address, or a PU")
    .option("--port <port>", "only to this port")
    .option("--protocol <name>", "only these, such as tcp")
    .option("--json", "print JSON, one decision a line")
    .action((options: FlowsOptions) => reporting(environment, "flows", () => flows(options, environment)));
}

function parseCount(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("write a number, such as 20");
  return Number(text);
}

async function flows(options: FlowsOptions, environment: CommandEnvironment): Promise<void> {
  const filter = compileFilter(options, environment.nowWallMs());
  const client = await ControlClient.connect(locate(options).socket);
  try {
    await showRecent(client, filter, options, environment);
    if (options.follow) await client.follow(printEach(filter, options, environment));
  } finally {
    client.close();
  }
}

async function showRecent(
  client: ControlClient,
  filter: FlowFilter,
  { follow: isFollowing, last, json }: FlowsOptions,
  environment: CommandEnvironment,
): Promise<void> {
  const follow = isFollowing === true;
  const matching: FlowDocument[] = [];
  const end = (await client.stream({ op: "flows", follow }, (item) => {
    const flow = item as FlowDocument;
    if (filter(flow)) matching.push(flow);
  })) as FlowsEnd;
  const shown = last === undefined ? matching : matching.slice(Math.max(0, matching.length - last));
  if (json) for (const flow of shown) environment.stdout(`${JSON.stringify(flow)}\n`);
  else environment.stdout(formatTable(headings, shown.map(cellsOf), followWidths(follow)));
  if (end.missing > 0) environment.stderr(`${end.missing} older decisions are no longer kept\n`);
}

function printEach(
  filter: FlowFilter,
  { json }: FlowsOptions,
  environment: CommandEnvironment,
): (item: unknown) => void {
  return (item) => {
    const flow = item as FlowDocument;
    if (!filter(flow)) return;
    const line = json ? `${JSON.stringify(flow)}\n` : formatRow(cellsOf(flow).map(plain), fixedWidths);
    environment.stdout(line);
  };
}

const headings = [
  "TIME",
  "VERDICT",
  "PROTO",
  "SOURCE",
  "DESTINATION",
  "REASON",
  "RULE",
  "PROOF",
  "ADDED",
] as const;
/** Of rows that come one by one: nobody knows how wide the next ones are. */
const fixedWidths = [24, 7, 5, 40, 40, 15, 20, 7] as const;

function followWidths(isFollowing: boolean): readonly number[] {
  return isFollowing ? fixedWidths : [];
}

function cellsOf(flow: FlowDocument): string[] {
  return [
    flow.time,
    flow.verdict,
    flow.protocol,
    formatEnd(flow.source),
    formatEnd(flow.destination),
    flow.reason,
    flow.rule ?? "-",
    flow.proof,
    flow.latencyUs === null ? "-" : `${flow.latencyUs} µs`,
  ];
}

/** `app=web,@ns=shop 10.1.0.2:43210`; `@node` is left to `--json`. */
function formatEnd({ attributes, address, port }: FlowEndDocument): string {
  const place = address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  if (attributes === null) return place;
  const shown = Object.fromEntries(Object.entries(attributes).filter(([key]) => key !== "@node"));
  return `${formatAttributes(shown)} ${place}`.trimStart();
}
