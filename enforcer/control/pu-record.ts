/** Owns the record of one PU: what the registry keeps of it on disk, and its text form. */
import { createHash } from "node:crypto";
import { makeAttributes, type Attributes } from "../policy/attributes.ts";
import { decoding, Fields } from "./fields.ts";
import {
  LIMITS,
  type AddressPrefix,
  type AttachmentKey,
  type Decoded,
  type PodReference,
} from "./messages.ts";

/** Everything that a restarted enforcer needs to go on with a PU. */
export interface PuRecord extends AttachmentKey {
  readonly id: string;
  readonly netnsPath: string;
  /** Decimal. */
  readonly netnsCookie: string;
  readonly addresses: readonly AddressPrefix[];
  readonly attributes: Attributes;
  readonly mtu: number;
  readonly onLinkPrefixes6: readonly string[];
  /** RFC 3339, UTC. */
  readonly enforcedSince: string;
}

/** A record is small; anything beyond this isn't one. */
export const MAX_RECORD_BYTES = 256 * 1024;

const RECORD_VERSION = 1;
const ATTRIBUTE_VALUES_MAXIMUM = 1024;

/** The id of an attachment's PU: the first 16 hex digits of SHA-256(network ‖ 0 ‖ container ID ‖ 0 ‖ interface name). */
export function puIdOf({ network, containerId, ifname }: AttachmentKey): string {
  return createHash("sha256").update(`${network}\0${containerId}\0${ifname}`).digest("hex").slice(0, 16);
}

/** The PU's whole attribute set: what the request says, and what only the enforcer may say. */
export function deriveAttributes(
  given: Readonly<Record<string, string>>,
  pod: PodReference | undefined,
  node: string,
): Attributes {
  const derived: [string, string][] = [["@node", node]];
  if (pod !== undefined) derived.push(["@ns", pod.namespace]);
  if (pod?.serviceAccount !== undefined) derived.push(["@sa", pod.serviceAccount]);
  return makeAttributes([...Object.entries(given), ...derived]);
}

/** The on-link prefixes of PUs that share a namespace, and so a rule set: each once, in one order. */
export function onLinkPrefixesOf(records: readonly PuRecord[]): string[] {
  return [...new Set(records.flatMap(({ onLinkPrefixes6 }) => onLinkPrefixes6))].sort();
}

/** The addresses of PUs that share a namespace, and so what its packets may come from: each once, in one order. */
export function addressesOf(records: readonly PuRecord[]): string[] {
  return [...new Set(records.flatMap(({ addresses }) => addresses.map(({ address }) => address)))].sort();
}

/** A record as the text of its file. */
export function encodeRecord(record: PuRecord): string {
  const { attributes, ...rest } = record;
  return `${JSON.stringify({ version: RECORD_VERSION, ...rest, attributes: [...attributes] })}\n`;
}

/** The record in a file's text; a text that is cut short, altered or of another version is a value that says so. */
export function decodeRecord(text: string): Decoded<PuRecord> {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return refused("not JSON, or cut short");
  }
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) return refused("not an object");
  const fields = new Fields(raw as Record<string, unknown>, "record");
  if (fields.raw["version"] !== RECORD_VERSION) return refused("of another version");
  const decoded = decoding(() => readRecord(fields));
  if (decoded.ok && decoded.value.id !== puIdOf(decoded.value))
    return refused("its id is not that of its attachment");
  return decoded;
}

function refused(message: string): Decoded<never> {
  return { ok: false, error: { code: 100, message } };
}

function readRecord(fields: Fields): PuRecord {
  return {
    id: fields.puId("id"),
    network: fields.name("network"),
    containerId: fields.name("containerId"),
    ifname: fields.text("ifname", LIMITS.ifnameBytes),
    netnsPath: fields.path("netnsPath"),
    netnsCookie: fields.decimal("netnsCookie"),
    addresses: fields.list("addresses", LIMITS.addresses, (item, path) => readAddress(Fields.of(item, path))),
    attributes: makeAttributes(fields.list("attributes", LIMITS.attributes + 8, readAttribute)),
    mtu: fields.integer("mtu", 68, 0xffffffff),
    onLinkPrefixes6: fields.list("onLinkPrefixes6", LIMITS.addresses, readText),
    enforcedSince: fields.name("enforcedSince"),
  };
}

function readAddress(fields: Fields): AddressPrefix {
  return { address: fields.name("address"), prefixLength: fields.integer("prefixLength", 0, 128) };
}

function readAttribute(item: unknown, path: string): [string, string[]] {
  const pair = Fields.of(
    Array.isArray(item) ? { key: item[0] as unknown, values: item[1] as unknown } : item,
    path,
  );
  return [pair.name("key"), pair.list("values", ATTRIBUTE_VALUES_MAXIMUM, readText)];
}

function readText(item: unknown, path: string): string {
  return Fields.of({ text: item }, path).text("text", LIMITS.nameBytes);
}
