/**
 * Owns the CNI_* variables: which a verb needs, and what they may hold.
 * Source: CNI SPEC 1.1.0, "Parameters"; the character rules are those of the reference library's `utils`.
 */
import { CniError } from "./cni-error.ts";

export type Verb = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";

/** One container's interface in a network, as the runtime names it. */
export interface Attachment {
  readonly containerId: string;
  readonly ifname: string;
  /** CNI_ARGS as it came, not yet parsed (a malformed one must not fail DEL). */
  readonly args: string;
  /** Whether the plugin's own namespace may be the container's, by the reference library's CNI_NETNS_OVERRIDE. */
  readonly ownNetnsAllowed: boolean;
}

export interface PodInvocation extends Attachment {
  readonly verb: "ADD" | "CHECK";
  /** An absolute path; nothing says yet that it names a network namespace. */
  readonly netns: string;
}

export interface DelInvocation extends Attachment {
  readonly verb: "DEL";
  readonly netns: string | undefined;
}

/** What the runtime asks. */
export type Invocation = PodInvocation | DelInvocation | { readonly verb: "GC" | "STATUS" | "VERSION" };

export type Environment = Readonly<Record<string, string | undefined>>;

/** Required variables by verb, in the order in which they are named when missing. */
const required = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  GC: ["CNI_PATH"],
  STATUS: [],
  VERSION: [],
} as const satisfies Record<Verb, readonly string[]>;

/** Reads and checks the variables. Throws a `CniError` with code 4 that names them. */
export function readInvocation(env: Environment): Invocation {
  const verb = readVerb(env["CNI_COMMAND"]);
  const missing = required[verb].filter((name) => isUnset(env[name]));
  if (missing.length > 0) throw invalid(`required env variables [${missing.join(",")}] missing`);
  if (verb === "GC" || verb === "STATUS" || verb === "VERSION") return { verb };
  const attachment = {
    containerId: checkContainerId(env["CNI_CONTAINERID"] ?? ""),
    ifname: checkIfname(env["CNI_IFNAME"] ?? ""),
    args: env["CNI_ARGS"] ?? "",
    ownNetnsAllowed: /^(1|true)$/i.test(env["CNI_NETNS_OVERRIDE"] ?? ""),
  };
  if (verb === "DEL")
    return { verb, ...attachment, netns: isUnset(env["CNI_NETNS"]) ? undefined : env["CNI_NETNS"] };
  return { verb, ...attachment, netns: checkNetns(env["CNI_NETNS"] ?? "") };
}

function readVerb(command: string | undefined): Verb {
  if (isUnset(command)) throw invalid("required env variables [CNI_COMMAND] missing");
  if (Object.hasOwn(required, command)) return command as Verb;
  throw invalid(`unknown CNI_COMMAND: ${shorten(command)}`);
}

function isUnset(value: string | undefined): value is undefined | "" {
  return value === undefined || value === "";
}

const longestContainerId = 256;

function checkContainerId(value: string): string {
  if (value.length <= longestContainerId && /^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(value)) return value;
  throw invalid(
    `CNI_CONTAINERID ${JSON.stringify(shorten(value))} is invalid: letters, digits, "_", "." and "-", ` +
      `beginning with a letter or digit, at most ${longestContainerId}`,
  );
}

/** IFNAMSIZ less the closing NUL. */
const longestIfname = 15;

function checkIfname(value: string): string {
  const wellFormed = value !== "." && value !== ".." && !/[/:\p{White_Space}\p{Cc}]/u.test(value);
  if (wellFormed && Buffer.byteLength(value) <= longestIfname) return value;
  throw invalid(
    `CNI_IFNAME ${JSON.stringify(shorten(value))} is invalid: 1 to ${longestIfname} bytes without "/", ":" and white space`,
  );
}

function checkNetns(value: string): string {
  if (value.startsWith("/")) return value;
  throw invalid(`CNI_NETNS ${JSON.stringify(shorten(value))} is not an absolute path`);
}

function shorten(value: string): string {
  return value.length <= 64 ? value : `${value.slice(0, 64)}…`;
}

function invalid(cause: string): CniError {
  return new CniError("invalidEnvironment", cause);
}
