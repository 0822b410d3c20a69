/**
 * The control protocol between the CNI plugin (client) and the enforcer (server): its messages, their bounds, and their
 * text form. Newline-delimited JSON over a Unix stream socket; one object a line; answers come in the order of requests.
 *
 * Only node built-ins: the plugin carries this file. What operators ask is in `operator-messages.ts`.
 */
import {
  decoding,
  Fields,
  malformed,
  NAME_BYTES,
  PATH_BYTES,
  quote,
  Refused,
  textOf,
  wrongConfig,
} from "./fields.ts";

/** The version of this protocol. A request or answer with another one is refused, so a skewed pair fails clearly. */
export const CONTROL_VERSION = 1;

/** The longest line either side accepts, in bytes, without its newline. */
export const MAX_LINE_BYTES = 1024 * 1024;

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

/** Any value of the protocol as one line. JSON escapes newlines, so the line is one. */
export function encodeLine(message: object): string {
  return `${JSON.stringify(message)}\n`;
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

/** What a line of a request holds besides what its op defines: the fields, to be read by the op's own decoder. */
export interface RequestEnvelope {
  readonly op: string;
  readonly fields: Fields;
}

/** Opens a request: JSON, an object, this version, an op. */
export function decodeEnvelope(line: string): Decoded<RequestEnvelope> {
  return decoding(() => {
    const fields = openEnvelope(line);
    return { op: fields.text("op", 32), fields };
  });
}

/** Decodes a plugin's request. A line that isn't one is a value that says what is wrong with it. */
export function decodePluginRequest(line: string): Decoded<PluginRequest> {
  const envelope = decodeEnvelope(line);
  if (!envelope.ok) return envelope;
  return decoding(() => {
    const decode = pluginDecoders[envelope.value.op];
    if (decode === undefined) throw malformed(`unknown op ${quote(envelope.value.op)}`);
    return decode(envelope.value.fields);
  });
}

/** Whether `op` is one of the plugin's. */
export function isPluginOp(op: string): boolean {
  return Object.hasOwn(pluginDecoders, op);
}

const pluginDecoders: Readonly<Record<string, (fields: Fields) => PluginRequest>> = {
  // No prototype, so that an op named `constructor` is unknown.
  __proto__: null as never,
  add: decodeAdd,
  enforce: (fields) => ({ op: "enforce", puId: fields.puId("puId") }),
  del: (fields) => ({ op: "del", ...attachmentKey(fields) }),
  check: (fields) => {
    const netnsCookie = fields.optional("netnsCookie", () => fields.decimal("netnsCookie"));
    return { op: "check", ...attachmentKey(fields), ...(netnsCookie === undefined ? {} : { netnsCookie }) };
  },
  gc: (fields) => ({
    op: "gc",
    network: fields.name("network"),
    attachments: fields.list("attachments", LIMITS.gcAttachments, (item, path) => {
      const entry = Fields.of(item, path);
      return { containerId: entry.name("containerId"), ifname: entry.text("ifname", LIMITS.ifnameBytes) };
    }),
  }),
  status: () => ({ op: "status" }),
  log: decodeLog,
};

function decodeAdd(fields: Fields): AddRequest {
  const pod = fields.optional("pod", () => decodePod(fields.object("pod")));
  return {
    op: "add",
    ...attachmentKey(fields),
    netnsPath: fields.path("netnsPath"),
    netnsCookie: fields.decimal("netnsCookie"),
    addresses: fields.list("addresses", LIMITS.addresses, (item, path) => {
      const entry = Fields.of(item, path);
      return { address: entry.name("address"), prefixLength: entry.integer("prefixLength", 0, 128) };
    }),
    attributes: decodeAttributes(fields.object("attributes")),
    ...(pod === undefined ? {} : { pod }),
    pluginVersion: fields.text("pluginVersion", LIMITS.nameBytes),
  };
}

function decodePod(fields: Fields): PodReference {
  const uid = fields.optional("uid", () => fields.text("uid", LIMITS.nameBytes));
  const serviceAccount = fields.optional("serviceAccount", () =>
    fields.text("serviceAccount", LIMITS.nameBytes),
  );
  return {
    namespace: fields.name("namespace"),
    name: fields.name("name"),
    ...(uid === undefined ? {} : { uid }),
    ...(serviceAccount === undefined ? {} : { serviceAccount }),
  };
}

function decodeAttributes(fields: Fields): Record<string, string> {
  const keys = Object.keys(fields.raw);
  if (keys.length > LIMITS.attributes) {
    throw wrongConfig(`${keys.length} attributes; at most ${LIMITS.attributes} are allowed`);
  }
  // A null prototype, so that a label named `__proto__` is a label.
  const attributes = Object.create(null) as Record<string, string>;
  for (const key of keys) attributes[attributeKey(key)] = attributeValue(key, fields.raw[key]);
  return attributes;
}

function attributeKey(key: string): string {
  if (key.startsWith("@"))
    throw wrongConfig(`attribute ${quote(key)}: keys that begin with @ are the enforcer's own`);
  if (key === "" || Buffer.byteLength(key) > LIMITS.attributeKeyBytes) {
    throw wrongConfig(`attribute ${quote(key)}: a key has 1 to ${LIMITS.attributeKeyBytes} bytes`);
  }
  return key;
}

function attributeValue(key: string, value: unknown): string {
  if (typeof value !== "string") throw wrongConfig(`attribute ${quote(key)}: the value must be a string`);
  if (Buffer.byteLength(value) > LIMITS.attributeValueBytes) {
    throw wrongConfig(`attribute ${quote(key)}: a value has at most ${LIMITS.attributeValueBytes} bytes`);
  }
  return value;
}

function decodeLog(fields: Fields): LogRequest {
  const entries = Object.entries(fields.object("fields").raw);
  if (entries.length > LIMITS.logFields) throw malformed(`fields: more than ${LIMITS.logFields}`);
  const kept = Object.create(null) as Record<string, string | number | boolean>;
  for (const [key, value] of entries) kept[key] = logValue(key, value);
  return {
    op: "log",
    level: fields.oneOf("level", ["debug", "info", "warn", "error"]),
    message: fields.text("message", LIMITS.logMessageBytes),
    fields: kept,
  };
}

function logValue(key: string, value: unknown): string | number | boolean {
  if (typeof value === "number" || typeof value === "boolean") return value;
  return textOf(value, `fields.${quote(key)}`, LIMITS.logMessageBytes);
}

function attachmentKey(fields: Fields): AttachmentKey {
  return {
    network: fields.name("network"),
    containerId: fields.name("containerId"),
    ifname: fields.text("ifname", LIMITS.ifnameBytes),
  };
}

function openEnvelope(line: string): Fields {
  const fields = Fields.of(parseJson(line), "message");
  const version = fields.raw["version"];
  if (version === CONTROL_VERSION) return fields;
  throw new Refused({
    code: 101,
    message: `control protocol version ${quote(version)} instead of ${CONTROL_VERSION}`,
    details: "plugin and enforcer are of different releases: install the same one of both",
  });
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw malformed("the line is not JSON");
  }
}

/** What `LineSplitter.push` gives: whole lines, or that one is longer than allowed (the connection is then to be cut). */
export type SplitLines =
  | { readonly ok: true; readonly lines: readonly string[] }
  | { readonly ok: false; readonly error: ControlError };

/** Cuts a byte stream into lines of at most `MAX_LINE_BYTES`; never holds more than one such line. */
export class LineSplitter {
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  /** Takes the next bytes and gives the lines that they complete, without their newlines. Invalid UTF-8 is replaced. */
  push(chunk: Buffer): SplitLines {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
      if (!this.#keep(chunk.subarray(start, end))) return tooLong;
      lines.push(this.#take());
      start = end + 1;
    }
    if (!this.#keep(chunk.subarray(start))) return tooLong;
    return { ok: true, lines };
  }

  /** Bytes held of a line that hasn't ended. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  #keep(part: Buffer): boolean {
    if (part.length === 0) return true;
    this.#pendingBytes += part.length;
    if (this.#pendingBytes > MAX_LINE_BYTES) return false;
    this.#pending.push(part);
    return true;
  }

  #take(): string {
    const line = Buffer.concat(this.#pending, this.#pendingBytes).toString("utf8");
    this.#pending = [];
    this.#pendingBytes = 0;
    return line;
  }
}

const tooLong: SplitLines = {
  ok: false,
  error: { code: 100, message: `a line is longer than ${MAX_LINE_BYTES} bytes` },
};
