/**
 * The control protocol between the CNI plugin (client) and the enforcer (server): its messages, their bounds, and the
 * plugin's end of them. A Unix stream socket; answers come in the order of requests.
 *
 * Only node built-ins: the plugin carries this file. The enforcer's end is in `requests.ts`, what operators ask in
 * `operator-messages.ts`.
 */
import { decoding, Fields, NAME_BYTES, PATH_BYTES, Refused, textOf } from "./fields.ts";
import { CONTROL_VERSION, encodeLine, MAX_LINE_BYTES, openEnvelope } from "./lines.ts";

/** Bounds of what one request may hold. */
export const LIMITS = {
  attributes: 64,
  attributeKeyBytes: 253 + 1 + 63,
  attributeValueBytes: 253,
  addresses: 16,
  /** Of all PUs of one namespace. */
  namespaceAddresses: 256,
  gcAttachments: 20_000,
  nameBytes: NAME_BYTES,
  ifnameBytes: 15,
  pathBytes: PATH_BYTES,
  logMessageBytes: 4096,
  logFields: 16,
} as const;

/**
 * The code of a refused request. Up to 99 they are the CNI specification's, and go into the CNI error unchanged; from 100
 * they are ours.
 *
 * - 7 the request asks for what the configuration must not ask for (a key that begins with `@`, too many attributes)
 * - 8 the namespace is the host's own
 * - 11 try again later
 * - 50, 51 not ready; 51 when running pods may be affected
 * - 100 malformed request · 101 another protocol version · 102 no such attachment or PU · 103 the caller isn't root
 * - 104 the namespace isn't what the request says (cookie, addresses, not a namespace)
 * - 105 the enforcer failed · 106 the attachment exists with other content
 */
export type ControlErrorCode = 7 | 8 | 11 | 50 | 51 | 100 | 101 | 102 | 103 | 104 | 105 | 106;

/** What names one attachment: together these are unique on a node. */
export interface AttachmentKey {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}

/** One address of the pod as text, and the length of its prefix in bits. */
export interface AddressPrefix {
  readonly address: string;
  readonly prefixLength: number;
}

/** The pod that an attachment belongs to, where the runtime says so. */
export interface PodReference {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
  readonly serviceAccount?: string;
}

/**
 * Prepares a PU: the enforcer opens the namespace, checks it against the claims and listens on its queues. The plugin
 * then installs the rules and sends `enforce` on the same connection; if that ends before, the enforcer undoes the add.
 */
export interface AddRequest extends AttachmentKey {
  readonly op: "add";
  readonly netnsPath: string;
  /** SO_NETNS_COOKIE of the namespace, decimal (it needs 64 bits). */
  readonly netnsCookie: string;
  readonly addresses: readonly AddressPrefix[];
  /** The pod's labels and the user's own `key=value`; keys that begin with `@` are refused with code 7. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly pod?: PodReference;
  readonly pluginVersion: string;
}

/** The rules are in place and were read back: from here on the PU exists, and survives a restart of the enforcer. */
export interface EnforceRequest {
  readonly op: "enforce";
  readonly puId: string;
}

/** Lets go of a PU; done as well when there is none. */
export interface DelRequest extends AttachmentKey {
  readonly op: "del";
}

/** Asks whether the PU is enforced; with a cookie also whether it is in that very namespace. */
export interface CheckRequest extends AttachmentKey {
  readonly op: "check";
  readonly netnsCookie?: string;
}

/** Lets go of every PU of `network` whose attachment isn't listed. */
export interface GcRequest {
  readonly op: "gc";
  readonly network: string;
  readonly attachments: readonly { readonly containerId: string; readonly ifname: string }[];
}

/** Is the enforcer ready for an ADD? Answers at once. */
export interface StatusRequest {
  readonly op: "status";
}

export type LogLevel = "debug" | "info" | "warn" | "error";

/** One line of the plugin's log, for the enforcer's. */
export interface LogRequest {
  readonly op: "log";
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: Readonly<Record<string, string | number | boolean>>;
}

export type PluginRequest =
  AddRequest | EnforceRequest | DelRequest | CheckRequest | GcRequest | StatusRequest | LogRequest;

/** What the plugin needs for the rule set. */
export interface AddAnswer {
  readonly puId: string;
  /** 12 contiguous bits. */
  readonly markMask: number;
  /** IPv6 prefixes on the pod's link, `address/length`, for neighbour discovery. */
  readonly onLinkPrefixes6: readonly string[];
  /** The addresses that all PUs of the namespace were added with: sources that its packets may have. */
  readonly sourceAddresses: readonly string[];
}

export interface CheckAnswer extends AddAnswer {
  /** RFC 3339, UTC. */
  readonly enforcedSince: string;
}

export interface StatusAnswer {
  readonly ready: true;
  readonly enforcerVersion: string;
}

export interface GcAnswer {
  /** Ids of the PUs let go. */
  readonly released: readonly string[];
  readonly failures: readonly string[];
}

export interface ControlError {
  readonly code: number;
  readonly message: string;
  readonly details?: string;
}

export type Decoded<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: ControlError };

/** A request as one line, newline included. */
export function encodeRequest(request: PluginRequest): string {
  return encodeLine({ version: CONTROL_VERSION, ...request });
}

/** A granted request's answer as one line, newline included. */
export function encodeAnswer(answer: object): string {
  return encodeLine({ version: CONTROL_VERSION, ok: true, ...answer });
}

/** A refusal as one line, newline included. */
export function encodeError(error: ControlError): string {
  return encodeLine({ version: CONTROL_VERSION, ok: false, error });
}

/** Whether `line` is an answer of this protocol, and its fields; a refusal comes back as its error. Fields aren't checked. */
export function decodeAnswer(line: string): Decoded<Record<string, unknown>> {
  return decoding(() => {
    const fields = openEnvelope(line);
    if (fields.raw["ok"] === true) return fields.raw;
    const error = fields.object("error");
    const details = error.optional("details", () => error.text("details", MAX_LINE_BYTES));
    throw new Refused({
      code: error.integer("code", 1, 0x7fffffff),
      message: error.text("message", MAX_LINE_BYTES),
      ...(details === undefined ? {} : { details }),
    });
  });
}

/** The answer to `add`, checked field by field. */
export function decodeAddAnswer(line: string): Decoded<AddAnswer> {
  return decodeFields(line, addAnswer);
}

/** The answer to `check`, checked field by field. */
export function decodeCheckAnswer(line: string): Decoded<CheckAnswer> {
  return decodeFields(line, (fields) => ({
    ...addAnswer(fields),
    enforcedSince: fields.text("enforcedSince", LIMITS.nameBytes),
  }));
}

/** The answer to `gc`, checked field by field. */
export function decodeGcAnswer(line: string): Decoded<GcAnswer> {
  return decodeFields(line, (fields) => ({
    released: fields.list("released", LIMITS.gcAttachments, (item) =>
      textOf(item, "released", LIMITS.nameBytes),
    ),
    failures: fields.list("failures", LIMITS.gcAttachments, (item) =>
      textOf(item, "failures", MAX_LINE_BYTES),
    ),
  }));
}

function decodeFields<T>(line: string, read: (fields: Fields) => T): Decoded<T> {
  const answer = decodeAnswer(line);
  if (!answer.ok) return answer;
  return decoding(() => read(new Fields(answer.value, "answer")));
}

function addAnswer(fields: Fields): AddAnswer {
  return {
    puId: fields.puId("puId"),
    markMask: fields.integer("markMask", 1, 0xffffffff),
    onLinkPrefixes6: fields.list("onLinkPrefixes6", LIMITS.addresses, (item) =>
      textOf(item, "onLinkPrefixes6", LIMITS.nameBytes),
    ),
    sourceAddresses: fields.list("sourceAddresses", LIMITS.namespaceAddresses, (item) =>
      textOf(item, "sourceAddresses", LIMITS.nameBytes),
    ),
  };
}
