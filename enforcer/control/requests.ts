/** Owns the enforcer's end of what plugins ask: requests decoded field by field, within their bounds. */
import { decoding, Fields, malformed, quote, textOf, wrongConfig } from "./fields.ts";
import { openEnvelope } from "./lines.ts";
import {
  LIMITS,
  type AddRequest,
  type AttachmentKey,
  type Decoded,
  type LogRequest,
  type PluginRequest,
  type PodReference,
} from "./messages.ts";

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
