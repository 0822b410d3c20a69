/**
 * Owns prevResult: which of its addresses are the pod's, and its text as our own result. It is never taken apart and put
 * together again; its members come out as they stand. Source: CNI SPEC 1.1.0, "Section 5"; spec-upgrades.md for 0.3.0.
 */
import type { AddressPrefix } from "../enforcer/control/messages.ts";
import { parsePrefix } from "../netlink/prefix.ts";
import { CniError } from "./cni-error.ts";
import { isObject, member, memberSources, parseJson } from "./json.ts";
import type { JsonObject } from "./json.ts";
import type { NetworkConfig } from "./network-config.ts";
import { isSupported, sameFamily } from "./versions.ts";

/** What prevResult says of one interface. */
export interface PreviousResult {
  readonly source: string;
  /** Addresses that it ties to the pod's interface. */
  readonly bound: readonly AddressPrefix[];
  /** Addresses that it ties to no interface: the pod's, if its interface has them. */
  readonly unbound: readonly AddressPrefix[];
}

/** Throws a `CniError` with code 7 where there is no usable prevResult. */
export function readPreviousResult(config: NetworkConfig, ifname: string): PreviousResult {
  const source = config.prevResultSource;
  if (source === undefined) {
    throw new CniError(
      "invalidConfig",
      "prevResult is missing: trireme-cni must be called as chained plugin",
      'put trireme-cni behind the plugin that makes the interface, in the list\'s "plugins"',
    );
  }
  const parsed = parseJson(source);
  if (!parsed.ok || !isObject(parsed.value)) throw invalid("is not an object");
  checkResultVersion(member(parsed.value, "cniVersion"), config.cniVersion);
  const result = readAddresses(parsed.value, ifname);
  if (result.bound.length + result.unbound.length > 0) return { source, ...result };
  throw invalid(`has no address of ${ifname}: there is nothing to enforce`);
}

/** prevResult as our result: its own text, with the configuration's version. */
export function resultText(source: string, cniVersion: string): string {
  const members = memberSources(source);
  const versions = members.filter(({ key }) => key === "cniVersion");
  const version = JSON.stringify(cniVersion);
  if (versions.length === 1 && versions[0]?.source === version) return `${source}\n`;
  const others = members.filter(({ key }) => key !== "cniVersion").map(({ pair }) => pair);
  return `{${[`"cniVersion":${version}`, ...others].join(",")}}\n`;
}

function checkResultVersion(version: unknown, configured: string): void {
  if (version === undefined || version === "") return;
  if (typeof version !== "string") throw invalid("has a cniVersion that is not a string");
  if (!isSupported(version))
    throw invalid(`has the unknown cniVersion ${JSON.stringify(version.slice(0, 32))}`);
  if (!sameFamily(version, configured)) {
    throw invalid(`has cniVersion ${version}, which is not read as the configuration's ${configured}`);
  }
}

type Addresses = Pick<PreviousResult, "bound" | "unbound">;

function readAddresses(result: JsonObject, ifname: string): Addresses {
  const interfaces = listOf(result, "interfaces");
  // 0.3.0's text called the list "ip" in places.
  const entries = member(result, "ips") === undefined ? listOf(result, "ip") : listOf(result, "ips");
  const bound: AddressPrefix[] = [];
  const unbound: AddressPrefix[] = [];
  for (const entry of entries) {
    if (!isObject(entry)) throw invalid("has an entry of ips that is not an object");
    const target = interfaces[indexOf(member(entry, "interface"))];
    if (target === undefined) unbound.push(readAddress(entry));
    else if (isPodInterface(target, ifname)) bound.push(readAddress(entry));
  }
  return { bound, unbound };
}

/** -1, which is no place in an array, where the entry names no interface. */
function indexOf(value: unknown): number {
  return Number.isInteger(value) ? Number(value) : -1;
}

function isPodInterface(candidate: unknown, ifname: string): boolean {
  if (!isObject(candidate) || member(candidate, "name") !== ifname) return false;
  const sandbox = member(candidate, "sandbox");
  return typeof sandbox === "string" && sandbox !== "";
}

function readAddress(entry: JsonObject): AddressPrefix {
  const text = member(entry, "address");
  const prefix = typeof text === "string" && text.includes("/") ? parsePrefix(text) : undefined;
  if (typeof text === "string" && prefix !== undefined) {
    return { address: text.slice(0, text.indexOf("/")), prefixLength: prefix.length };
  }
  throw invalid("has an entry of ips whose address is not address/length");
}

function listOf(result: JsonObject, key: string): readonly unknown[] {
  const value = member(result, key) ?? [];
  if (Array.isArray(value)) return value;
  throw invalid(`has ${key} that is not an array`);
}

function invalid(cause: string): CniError {
  return new CniError("invalidConfig", `prevResult ${cause}`);
}
