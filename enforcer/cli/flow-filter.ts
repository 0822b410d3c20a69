/** Owns which decisions `trireme flows` shows: every filter given must match. */
import type { FlowDocument, FlowEndDocument } from "../control/operator-messages.ts";
import { OperationError } from "../operation-error.ts";
import { parseDuration } from "./duration.ts";

export interface FlowFilterOptions {
  readonly verdict?: string;
  readonly reason?: string;
  readonly rule?: string;
  readonly protocol?: string;
  /** `key=value`, an address, or a PU's id or its beginning. */
  readonly from?: string;
  readonly to?: string;
  /** Of the destination. */
  readonly port?: string;
  /** `30s`, `5m`, `2h`, `1d`. */
  readonly since?: string;
}

export type FlowFilter = (flow: FlowDocument) => boolean;

/** Compiles the options. Throws `OperationError` (usage) for one that means nothing. */
export function compileFilter(options: FlowFilterOptions, nowMs: number): FlowFilter {
  const { verdict, reason, rule, protocol, from, to, port, since } = options;
  const sinceMs = since === undefined ? undefined : nowMs - parseSince(since);
  const portNumber = port === undefined ? undefined : parsePort(port);
  const tests: (FlowFilter | undefined)[] = [
    verdict === undefined ? undefined : (flow) => flow.verdict === verdict,
    reason === undefined ? undefined : (flow) => flow.reason === reason,
    rule === undefined
      ? undefined
      : (flow) => flow.rule === rule || flow.rule?.startsWith(`${rule}/`) === true,
    protocol === undefined ? undefined : (flow) => flow.protocol === protocol,
    from === undefined ? undefined : (flow) => isEnd(flow.source, from),
    to === undefined ? undefined : (flow) => isEnd(flow.destination, to),
    portNumber === undefined ? undefined : (flow) => flow.destination.port === portNumber,
    sinceMs === undefined ? undefined : (flow) => Date.parse(flow.time) >= sinceMs,
  ];
  const active = tests.filter((test) => test !== undefined);
  return (flow) => active.every((test) => test(flow));
}

function isEnd({ id, attributes, address }: FlowEndDocument, wanted: string): boolean {
  const equals = wanted.indexOf("=");
  if (equals > 0) {
    const values = attributes?.[wanted.slice(0, equals)];
    return values !== undefined && [values].flat().includes(wanted.slice(equals + 1));
  }
  return address === wanted || (id?.startsWith(wanted) ?? false);
}

/** In milliseconds. */
function parseSince(text: string): number {
  const seconds = parseDuration(text);
  if (seconds === undefined) throw usage(`--since ${text}: write a number and s, m, h or d, such as 5m`);
  return seconds * 1000;
}

function parsePort(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw usage(`--port ${text}: write 0 to 65535`);
  return Number(text);
}

function usage(message: string): OperationError {
  return new OperationError("usage", "filter flows", message);
}
