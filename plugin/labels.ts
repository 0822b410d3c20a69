/**
 * Owns the pod's attributes as the plugin learns them: four sources, merged key by key, the first that has a key wins.
 * Source: CNI conventions ("args", "CNI_ARGS", "runtimeConfig"); precedence is ours (README).
 */
import { LIMITS } from "../enforcer/control/messages.ts";
import type { CniArgs } from "./cni-args.ts";
import { CniError } from "./cni-error.ts";
import { isObject, member, parseJson } from "./json.ts";

/** The pod annotation that holds labels, a JSON object of strings. */
const labelAnnotation = "trireme-cni/labels";

/** The capability under which containerd and CRI-O pass the pod's annotations. */
const annotationsCapability = "io.kubernetes.cri.pod-annotations";

/** Null prototype: a label named `__proto__` is a label. */
export type Labels = Readonly<Record<string, string>>;

/** What of the configuration can hold labels, not yet checked. */
export interface LabelSources {
  /** `attributes` of the plugin's object. */
  readonly attributes: unknown;
  /** `args` of the configuration. */
  readonly args: unknown;
  readonly runtimeConfig: unknown;
  readonly cniArgs: CniArgs;
}

/** Merges all sources. Throws a `CniError` with code 7 that names the source and key. */
export function collectLabels(sources: LabelSources): Labels {
  const merged = Object.create(null) as Record<string, string>;
  for (const [source, pairs] of inPrecedence(sources)) {
    for (const [key, value] of pairs) {
      const [label, text] = checkLabel(source, key, value);
      if (!Object.hasOwn(merged, label)) merged[label] = text;
    }
  }
  const count = Object.keys(merged).length;
  if (count > LIMITS.attributes) throw invalid(`${count} labels; at most ${LIMITS.attributes} are allowed`);
  return merged;
}

type Pairs = Iterable<readonly [unknown, unknown]>;

function inPrecedence(sources: LabelSources): (readonly [string, Pairs])[] {
  return [
    ["attributes", fromObject("attributes", sources.attributes)],
    ["args.cni.labels", fromArgs(sources.args)],
    ["TRIREME_LABELS in CNI_ARGS", fromCniArgs(sources.cniArgs.get("TRIREME_LABELS"))],
    [`annotation ${labelAnnotation}`, fromAnnotation(sources.runtimeConfig)],
  ];
}

function fromObject(source: string, value: unknown): Pairs {
  if (value === undefined) return [];
  if (!isObject(value)) throw invalid(`${source} must be a JSON object of strings`);
  return Object.entries(value);
}

/** `[{"key": …, "value": …}]`; of a key that occurs twice the last one counts. Other data under `args` is others'. */
function fromArgs(args: unknown): Pairs {
  const labels = descend(args, "cni", "labels");
  if (labels === undefined || labels === null) return [];
  if (!Array.isArray(labels)) throw invalid("args.cni.labels must be an array of {key, value}");
  return new Map(labels.map(labelPair));
}

function labelPair(item: unknown): [unknown, unknown] {
  if (!isObject(item)) throw invalid("args.cni.labels must be an array of {key, value}");
  return [member(item, "key"), member(item, "value")];
}

/** `key:value,key:value`; a value may hold further colons. */
function fromCniArgs(text: string | undefined): Pairs {
  if (text === undefined || text === "") return [];
  return new Map(
    text.split(",").map((pair) => {
      const colon = pair.indexOf(":");
      if (colon < 1) throw invalid(`TRIREME_LABELS: ${quote(pair)} is not key:value`);
      return [pair.slice(0, colon), pair.slice(colon + 1)] as const;
    }),
  );
}

function fromAnnotation(runtimeConfig: unknown): Pairs {
  const text = descend(runtimeConfig, annotationsCapability, labelAnnotation);
  if (text === undefined) return [];
  const parsed = typeof text === "string" ? parseJson(text) : undefined;
  if (parsed?.ok !== true) throw invalid(`annotation ${labelAnnotation} must be a JSON object of strings`);
  return fromObject(`annotation ${labelAnnotation}`, parsed.value);
}

/** The member at a path; `undefined` where any step isn't an object: what isn't ours may be malformed. */
function descend(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((at, key) => (isObject(at) ? member(at, key) : undefined), value);
}

function checkLabel(source: string, key: unknown, value: unknown): [string, string] {
  if (typeof key !== "string" || key === "" || /\p{Cc}/u.test(key)) {
    throw invalid(`${source}: ${quote(key)} is not a label's key`);
  }
  if (key.startsWith("@"))
    throw invalid(`${source}: ${quote(key)}: keys that begin with @ are the enforcer's own`);
  if (Buffer.byteLength(key) > LIMITS.attributeKeyBytes) {
    throw invalid(`${source}: ${quote(key)}: a key has at most ${LIMITS.attributeKeyBytes} bytes`);
  }
  if (typeof value !== "string") throw invalid(`${source}: ${quote(key)}: the value must be a string`);
  if (Buffer.byteLength(value) > LIMITS.attributeValueBytes) {
    throw invalid(`${source}: ${quote(key)}: a value has at most ${LIMITS.attributeValueBytes} bytes`);
  }
  return [key, value];
}

function quote(value: unknown): string {
  return JSON.stringify(value ?? null).slice(0, 80);
}

function invalid(cause: string): CniError {
  return new CniError("invalidConfig", cause);
}
