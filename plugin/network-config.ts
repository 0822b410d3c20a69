/**
 * Owns the network configuration on standard input: its form, its version, and the plugin's own options.
 * Source: CNI SPEC 1.1.0, "Section 1" and "Section 5"; the options are listed in README.md.
 */
import type { AttachmentKey } from "../enforcer/control/messages.ts";
import { CniError } from "./cni-error.ts";
import type { Verb } from "./environment.ts";
import { isObject, member, memberSource, parseJson } from "./json.ts";
import type { JsonObject } from "./json.ts";
import { checkVersion } from "./versions.ts";

/** Longest configuration that is read, in bytes. */
export const maxConfigBytes = 8 * 1024 * 1024;

export const defaultSocket = "/run/trireme/enforcer.sock";

/** The plugin's options, checked. */
export interface Options {
  /** Absolute path of the enforcer's control socket. */
  readonly socket: string;
  /** Longest wait for the enforcer, in milliseconds; the verb's own deadline holds as well. */
  readonly timeoutMs: number;
}

/** A configuration of a version that the verb accepts. Members other than these are read where they are needed. */
export interface NetworkConfig {
  readonly cniVersion: string;
  readonly network: string;
  readonly fields: JsonObject;
  /** prevResult's own text; `undefined` where there is none, or null. */
  readonly prevResultSource: string | undefined;
}

/** Decodes the bytes of standard input. Throws a `CniError` with code 6 (form), 7 (name) or 1 (version). */
export function decodeConfig(verb: Verb, bytes: Buffer): NetworkConfig {
  const text = decodeText(bytes);
  const fields = decodeObject(text);
  const network = checkName(member(fields, "name"));
  const cniVersion = readVersion(member(fields, "cniVersion"));
  checkVersion(verb, cniVersion);
  const hasResult = (member(fields, "prevResult") ?? null) !== null;
  return {
    cniVersion,
    network,
    fields,
    prevResultSource: hasResult ? memberSource(text, "prevResult") : undefined,
  };
}

/** The version for an error's `cniVersion`, as far as the bytes have one. */
export function configuredVersion(bytes: Buffer): string | undefined {
  const parsed = parseJson(bytes.toString("utf8"));
  const version = parsed.ok && isObject(parsed.value) ? member(parsed.value, "cniVersion") : undefined;
  return typeof version === "string" ? version : undefined;
}

function decodeText(bytes: Buffer): string {
  if (bytes.length === 0) throw undecodable("the network configuration on standard input is empty");
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw undecodable("the network configuration is not valid UTF-8");
  }
}

function decodeObject(text: string): JsonObject {
  const parsed = parseJson(text);
  if (!parsed.ok) {
    const place = parsed.position === undefined ? "" : ` (at character ${parsed.position})`;
    throw undecodable(`the network configuration is not valid JSON${place}`);
  }
  if (!isObject(parsed.value)) throw undecodable("the network configuration is not a JSON object");
  return parsed.value;
}

function checkName(name: unknown): string {
  if (name === undefined || name === "") throw new CniError("invalidConfig", "missing network name");
  if (typeof name === "string" && name.length <= 256 && /^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name))
    return name;
  throw new CniError(
    "invalidConfig",
    `invalid network name ${JSON.stringify(name).slice(0, 80)}: letters, digits, "_", "." and "-" only`,
  );
}

/** Where it is missing the reference library takes 0.1.0, which has no chaining. */
function readVersion(version: unknown): string {
  if (version === undefined || version === "") return "0.1.0";
  if (typeof version === "string") return version;
  throw undecodable("cniVersion is not a string");
}

function undecodable(cause: string): CniError {
  return new CniError("undecodableInput", cause);
}

/** Reads and checks the options. Throws a `CniError` with code 7 that names the option. */
export function readOptions(fields: JsonObject): Options {
  return {
    socket: readSocket(member(fields, "socket")),
    timeoutMs: readTimeout(member(fields, "timeoutMs")),
  };
}

/** As `readOptions`; what is invalid becomes its default and is reported. For DEL, which must do what it can. */
export function readOptionsLeniently(fields: JsonObject, report: (error: CniError) => void): Options {
  const orDefault = <T>(read: (value: unknown) => T, value: unknown): T => {
    try {
      return read(value);
    } catch (error) {
      if (error instanceof CniError) report(error);
      return read(undefined);
    }
  };
  return {
    socket: orDefault(readSocket, member(fields, "socket")),
    timeoutMs: orDefault(readTimeout, member(fields, "timeoutMs")),
  };
}

/** sizeof(sun_path) less the closing NUL, unix(7). */
const longestSocketPath = 107;

function readSocket(value: unknown): string {
  if (value === undefined) return defaultSocket;
  if (typeof value === "string" && /^\/[^\0]*$/.test(value) && Buffer.byteLength(value) <= longestSocketPath)
    return value;
  throw new CniError(
    "invalidConfig",
    `option socket must be an absolute path of at most ${longestSocketPath} bytes`,
  );
}

const timeoutRange = { least: 50, most: 10_000 };

function readTimeout(value: unknown): number {
  if (value === undefined) return timeoutRange.most;
  const inRange =
    Number.isInteger(value) && Number(value) >= timeoutRange.least && Number(value) <= timeoutRange.most;
  if (inRange) return Number(value);
  throw new CniError(
    "invalidConfig",
    `option timeoutMs must be a whole number from ${timeoutRange.least} to ${timeoutRange.most}`,
  );
}

/** A container's interface in the list that GC gets. */
export type ListedAttachment = Omit<AttachmentKey, "network">;

/** GC's list; `undefined` where it's absent. Throws a `CniError` with code 7. Source: SPEC 1.1.0, "GC". */
export function readValidAttachments(fields: JsonObject): readonly ListedAttachment[] | undefined {
  const list = member(fields, "cni.dev/valid-attachments") ?? member(fields, "cni.dev/attachments");
  if (list === undefined || list === null) return undefined;
  if (!Array.isArray(list)) throw new CniError("invalidConfig", "cni.dev/valid-attachments is not an array");
  return list.map((item: unknown, index) => {
    const containerId = isObject(item) ? member(item, "containerID") : undefined;
    const ifname = isObject(item) ? member(item, "ifname") : undefined;
    if (
      typeof containerId === "string" &&
      containerId !== "" &&
      typeof ifname === "string" &&
      ifname !== ""
    ) {
      return { containerId, ifname };
    }
    throw new CniError("invalidConfig", `cni.dev/valid-attachments[${index}] is not {containerID, ifname}`);
  });
}
