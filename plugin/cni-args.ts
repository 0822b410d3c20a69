/**
 * Owns CNI_ARGS: `KEY=value` pairs joined by `;`, in any order. Source: CNI conventions, "CNI_ARGS"; strictness as in the
 * reference library's `LoadArgs`, except that unknown keys are ignored with or without IgnoreUnknown.
 */
import type { PodReference } from "../enforcer/control/messages.ts";
import { CniError } from "./cni-error.ts";

export type CniArgs = ReadonlyMap<string, string>;

/** Of duplicate keys the last one counts. Throws a `CniError` with code 4 that names the pair. */
export function parseCniArgs(text: string): CniArgs {
  const args = new Map<string, string>();
  for (const pair of text === "" ? [] : text.split(";")) {
    const [key, value, ...rest] = pair.split("=");
    if (key === undefined || key === "" || value === undefined || rest.length > 0) {
      throw new CniError("invalidEnvironment", `CNI_ARGS: invalid pair ${JSON.stringify(pair.slice(0, 80))}`);
    }
    args.set(key, value);
  }
  checkIgnoreUnknown(args.get("IgnoreUnknown"));
  return args;
}

/** The arguments, or none where the text is malformed: for messages and for DEL, which must succeed all the same. */
export function parseCniArgsLeniently(text: string): CniArgs {
  try {
    return parseCniArgs(text);
  } catch {
    return new Map();
  }
}

function checkIgnoreUnknown(value: string | undefined): void {
  if (value === undefined || /^(1|0|true|True|TRUE|false|False|FALSE)$/.test(value)) return;
  throw new CniError(
    "invalidEnvironment",
    `CNI_ARGS: invalid pair ${JSON.stringify(`IgnoreUnknown=${value.slice(0, 64)}`)}`,
  );
}

/** The pod, where a Kubernetes runtime names one. Without a uid where the runtime gives none. */
export function podReference(args: CniArgs): PodReference | undefined {
  const namespace = args.get("K8S_POD_NAMESPACE") ?? "";
  const name = args.get("K8S_POD_NAME") ?? "";
  const uid = args.get("K8S_POD_UID") ?? "";
  if (namespace === "" || name === "") return undefined;
  return { namespace, name, ...(uid === "" ? {} : { uid }) };
}
