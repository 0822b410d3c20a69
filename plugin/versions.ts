/**
 * Owns which versions of the CNI specification the plugin speaks, and which verbs each has.
 * Source: CNI SPEC 1.1.0, "Version"; chaining exists from 0.3.0, CHECK from 0.4.0, GC and STATUS from 1.1.0.
 */
import { CniError } from "./cni-error.ts";
import type { Verb } from "./environment.ts";

/** Exact strings; a version is compared as text, never as a range. */
export const supportedVersions = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;
export const currentVersion = "1.1.0";

/** Result types that can be read as one another's: up to 0.4.0 `ips[]` has a `version`, from 1.0.0 on it hasn't. */
const families: readonly (readonly string[])[] = [
  ["0.3.0", "0.3.1", "0.4.0"],
  ["1.0.0", "1.1.0"],
];

const firstWith: Partial<Record<Verb, readonly [number, number, number]>> = {
  CHECK: [0, 4, 0],
  GC: [1, 1, 0],
  STATUS: [1, 1, 0],
};

/** The answer to VERSION. */
export function versionAnswer(): string {
  return `${JSON.stringify({ cniVersion: currentVersion, supportedVersions })}\n`;
}

export function isSupported(version: string): boolean {
  return (supportedVersions as readonly string[]).includes(version);
}

export function sameFamily(one: string, other: string): boolean {
  return families.some((family) => family.includes(one) && family.includes(other));
}

/** Throws a `CniError`: code 6 where the verb has a first version and `version` is none at all, else code 1. */
export function checkVersion(verb: Verb, version: string): void {
  const first = firstWith[verb];
  if (first !== undefined && isBefore(parseVersion(version), first)) {
    throw new CniError("incompatibleVersion", `config version does not allow ${verb}`, supportText(version));
  }
  if (isSupported(version)) return;
  throw new CniError("incompatibleVersion", "incompatible CNI versions", supportText(version));
}

function supportText(version: string): string {
  const supported = supportedVersions.map((name) => JSON.stringify(name)).join(" ");
  return `config is ${JSON.stringify(version.slice(0, 32))}, plugin supports [${supported}]`;
}

function parseVersion(version: string): number[] {
  if (!/^\d{1,9}(\.\d{1,9}){0,2}$/.test(version)) {
    throw new CniError(
      "undecodableInput",
      `cniVersion ${JSON.stringify(version.slice(0, 32))} is not a version`,
    );
  }
  return version.split(".").map(Number);
}

function isBefore(version: readonly number[], first: readonly number[]): boolean {
  for (const [place, least] of first.entries()) {
    const part = version[place] ?? 0;
    if (part !== least) return part < least;
  }
  return false;
}
