/** Owns the enforcer's configuration: the shape of enforcer.yaml once validated, with its defaults applied. Source: README.md of this folder. */
import { readDocument } from "../policy/document.ts";
import type { NetworksConfig, UnmanagedConfig } from "../policy/networks.ts";
import type { Problem } from "../policy/problem.ts";
import { checkDocument, formatPath, show } from "../policy/shape.ts";
import {
  type ConfigFile,
  configFileSchema,
  flagSchemas,
  nodeName,
  parseListenAddress,
  readPorts,
  unmanagedProtocols,
} from "./config-schema.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFormat = "text" | "json";

/** Validated; every field is present, defaults applied, flags taken into account. Structured-cloneable. */
export interface EnforcerConfig {
  readonly version: 1;
  readonly mode: "pki" | "psk";
  readonly trustDomain: string;
  /** `@node` of our units. */
  readonly node: string;
  readonly networks: NetworksConfig;
  readonly tokens: { readonly lifetimeSeconds: number; readonly clockSkewSeconds: number };
  /** Twelve contiguous bits, unsigned. */
  readonly markMask: number;
  readonly socket: string;
  /** Folder of the registry. */
  readonly state: string;
  readonly policy: string;
  /** Folder of the keys. */
  readonly keys: string;
  /** Where to serve metrics; undefined: nowhere. */
  readonly metrics: ListenAddress | undefined;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly limits: LimitsConfig;
}

export interface ListenAddress {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Every bound on memory, time and work that an operator may want to move. */
export interface LimitsConfig {
  readonly processingUnits: number;
  /** Pending SYNs of one unit as client. */
  readonly clientHandshakes: number;
  /** Half-open connections of one unit as server, in total and per peer token. */
  readonly serverHandshakes: number;
  readonly serverHandshakesPerToken: number;
  /** Ring of connections just authorised, per unit, for repeated SYN-ACKs; at most 128 bytes each, and 65,536 entries of all units. */
  readonly authorisedRing: number;
  /** Packets held for verification, per queue, and for how long. */
  readonly heldPackets: number;
  readonly heldMs: number;
  /** How long a handshake may take at either end. */
  readonly handshakeMs: number;
  /** Asymmetric operations a second, in total and per source address. */
  readonly verificationsPerSecond: number;
  readonly verificationsPerSourcePerSecond: number;
  /** Cached identities of peers, cached failures, cached pair keys. */
  readonly cachedIdentities: number;
  readonly cachedFailures: number;
  readonly cachedPairs: number;
  /** Resets that we send a second, per unit. */
  readonly resetsPerSecond: number;
  /** Length of each kernel queue, in packets. */
  readonly queueLength: number;
  /** Flow records kept for `trireme flows`. */
  readonly flowRecords: number;
}

/** What the command line may override. */
export interface ConfigFlags {
  readonly socket?: string;
  readonly state?: string;
  readonly policy?: string;
  readonly keys?: string;
  /** `ADDR:PORT` */
  readonly metrics?: string;
  readonly logLevel?: string;
  readonly logFormat?: string;
}

export type ConfigResult =
  | { readonly ok: true; readonly config: EnforcerConfig }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * Validates the text of enforcer.yaml and applies flags and defaults. Pure: `hostname` is the default of `node`, and `file` only
 * names the file in problems. Never throws.
 */
export function loadConfig(text: string, flags: ConfigFlags, hostname: string, file: string): ConfigResult {
  const document = readDocument(text, file);
  const flagProblems = checkFlags(flags);
  if (!("value" in document)) return { ok: false, problems: [...flagProblems, ...document] };
  const checked = checkDocument(configFileSchema, document, formatPath);
  if (!checked.ok) return { ok: false, problems: [...flagProblems, ...checked.problems] };
  if (flagProblems.length > 0) return { ok: false, problems: flagProblems };
  const given = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined));
  const config = toConfig({ ...checked.value, ...given }, hostname);
  return nodeName.safeParse(config.node).success
    ? { ok: true, config }
    : { ok: false, problems: [hostnameProblem(file, hostname)] };
}

function hostnameProblem(file: string, hostname: string): Problem {
  const message = `it is missing, and the host's name ${show(hostname)} cannot stand for it`;
  return {
    file,
    line: 1,
    column: 1,
    subject: "node",
    message,
    remedy: "write node: NAME, with letters, digits, '-' and '.'",
  };
}

function checkFlags(flags: ConfigFlags): Problem[] {
  return Object.entries(flagSchemas).flatMap(([name, schema]) => {
    const value = flags[name as keyof ConfigFlags];
    const result = value === undefined ? undefined : schema.safeParse(value);
    if (result === undefined || result.success) return [];
    const [message = "", remedy = ""] = (result.error.issues[0]?.message ?? "").split("\n");
    const flag = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    return [{ file: "command line", line: 1, column: 1, subject: flag, message, remedy }];
  });
}

function toConfig(file: ConfigFile, hostname: string): EnforcerConfig {
  const { metrics, node, networks, ...rest } = file;
  return {
    ...rest,
    node: node ?? hostname,
    networks: { ...networks, unmanaged: networks.unmanaged.map(toUnmanaged) },
    metrics: metrics === undefined ? undefined : parseListenAddress(metrics),
  };
}

function toUnmanaged({
  address,
  ports,
  protocol,
}: ConfigFile["networks"]["unmanaged"][number]): UnmanagedConfig {
  return {
    address,
    ...(ports === undefined ? {} : { ports: ports.map(readPorts) }),
    ...(protocol === undefined ? {} : { protocol: unmanagedProtocols[protocol] }),
  };
}
