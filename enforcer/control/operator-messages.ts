/**
 * What operators ask over the control socket (`trireme status`, `flows`, `release`), and the documents that they get.
 * The documents are an interface: `--json` prints them as they are, and `cli/schemas/` describes them.
 *
 * `list` and `flows` are answered with any number of lines `{item}` and one line `{end}`. With `follow`, the lines before
 * the end are the recent decisions, and each new one is an item after it.
 */
import { decoding, type Fields } from "./fields.ts";
import { CONTROL_VERSION, encodeLine } from "./lines.ts";
import { decodeAnswer, type Decoded } from "./messages.ts";
import { decodeEnvelope } from "./requests.ts";

/** Everything about the enforcer and its PUs. */
export interface ListRequest {
  readonly op: "list";
}

/** Decisions: the recent ones, and with `follow` each new one until the client hangs up. */
export interface FlowsRequest {
  readonly op: "flows";
  readonly follow: boolean;
  /** At most so many of the recent ones, the newest. */
  readonly last?: number;
}

/** Takes our rules out of one PU's namespace or all, and lets go of them. They are open afterwards. */
export interface ReleaseRequest {
  readonly op: "release";
  /** Absent: all. */
  readonly puId?: string;
}

export type OperatorRequest = ListRequest | FlowsRequest | ReleaseRequest;

/** key → its value, or its values where it has several. */
export type AttributesDocument = Readonly<Record<string, string | readonly string[]>>;

export interface PuDocument {
  readonly id: string;
  readonly containerId: string;
  readonly network: string;
  readonly ifname: string;
  /** Path of the network namespace. */
  readonly netns: string;
  readonly addresses: readonly string[];
  readonly attributes: AttributesDocument;
  readonly enforcedSince: string;
}

export interface EnforcerDocument {
  readonly version: string;
  readonly startedAt: string;
}

/** The end of the answer to `list`, whose items are `PuDocument`s. */
export interface ListEnd {
  readonly enforcer: EnforcerDocument;
  /** Reason → how often since the start: decisions, and packets that were dropped without one. */
  readonly counters: Readonly<Record<string, number>>;
  /** What an operator should mend, in words. */
  readonly warnings: readonly string[];
}

/** What `trireme status --json` prints. */
export interface StatusDocument extends ListEnd {
  readonly version: 1;
  readonly pus: readonly PuDocument[];
}

export interface FlowEndDocument {
  /** Both null where the end is no PU, or its token wasn't verified. */
  readonly id: string | null;
  readonly attributes: AttributesDocument | null;
  readonly address: string;
  readonly port: number;
}

/** What `trireme flows --json` prints, one a line. */
export interface FlowDocument {
  readonly version: 1;
  readonly time: string;
  readonly verdict: "allow" | "deny";
  readonly reason: string;
  /** `policy/rule`, null where no rule decided. */
  readonly rule: string | null;
  readonly proof: "token" | "address" | "none";
  /** Which end's enforcer decided. */
  readonly reporter: "source" | "destination";
  readonly protocol: string;
  readonly source: FlowEndDocument;
  readonly destination: FlowEndDocument;
  /** How long the connection's segments had been with this enforcer when it decided, in microseconds; null where it didn't measure. */
  readonly latencyUs: number | null;
}

/** The end of the answer to `flows`, whose items are `FlowDocument`s. */
export interface FlowsEnd {
  /** Decisions since the start that are no longer, or never were, in the buffer. */
  readonly missing: number;
}

export interface ReleaseAnswer {
  readonly released: readonly string[];
  readonly failures: readonly { readonly puId: string; readonly message: string }[];
}

const FLOWS_LAST_MAXIMUM = 1_000_000;

/** Decodes an operator's request. */
export function decodeOperatorRequest(line: string): Decoded<OperatorRequest> {
  const envelope = decodeEnvelope(line);
  if (!envelope.ok) return envelope;
  const { op, fields } = envelope.value;
  return decoding(() => decodeOp(op, fields));
}

function decodeOp(op: string, fields: Fields): OperatorRequest {
  if (op === "flows") {
    const last = fields.optional("last", () => fields.integer("last", 0, FLOWS_LAST_MAXIMUM));
    return { op, follow: fields.boolean("follow"), ...(last === undefined ? {} : { last }) };
  }
  if (op === "release") {
    const puId = fields.optional("puId", () => fields.puId("puId"));
    return { op, ...(puId === undefined ? {} : { puId }) };
  }
  return { op: fields.oneOf("op", ["list"]) };
}

/** An operator's request as one line. */
export function encodeOperatorRequest(request: OperatorRequest): string {
  return encodeLine({ version: CONTROL_VERSION, ...request });
}

/** One item of a stream as one line. */
export function encodeItem(item: object): string {
  return encodeLine({ version: CONTROL_VERSION, ok: true, item });
}

/** The end of a stream as one line. */
export function encodeEnd(end: object): string {
  return encodeLine({ version: CONTROL_VERSION, ok: true, end });
}

export type StreamLine =
  { readonly kind: "item"; readonly item: unknown } | { readonly kind: "end"; readonly end: unknown };

/** One line of a stream. Items come from the enforcer, which is trusted: their fields aren't checked. */
export function decodeStreamLine(line: string): Decoded<StreamLine> {
  const answer = decodeAnswer(line);
  if (!answer.ok) return answer;
  const { item, end } = answer.value;
  return { ok: true, value: end === undefined ? { kind: "item", item } : { kind: "end", end } };
}

/** The document form of an attribute set. */
export function attributesDocument(attributes: ReadonlyMap<string, readonly string[]>): AttributesDocument {
  const document = Object.create(null) as Record<string, string | readonly string[]>;
  for (const [key, values] of attributes) {
    const [first] = values;
    document[key] = values.length === 1 && first !== undefined ? first : values;
  }
  return document;
}
