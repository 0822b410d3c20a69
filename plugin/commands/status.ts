/** Owns STATUS: can a pod be added now? Waits for nothing and changes nothing. Source: CNI SPEC 1.1.0, "STATUS". */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { decodeAnswer } from "../../enforcer/control/messages.ts";
import { withEnforcer } from "../call.ts";
import type { Call } from "../call.ts";
import { CniError, failures } from "../cni-error.ts";

export async function status(call: Call): Promise<void> {
  try {
    await withEnforcer(call, (connection) => connection.request({ op: "status" }, decodeAnswer));
  } catch (error) {
    if (!(error instanceof CniError) || error.code !== failures.tryLater.code) throw error;
    throw new CniError(hasRegisteredPods(call.options.socket) ? "limited" : "notReady", error.message);
  }
}

/** Whether the registry holds a pod. */
function hasRegisteredPods(socket: string): boolean {
  try {
    return readdirSync(registryOf(socket)).some((name) => /^[0-9a-f]{16}\.json$/.test(name));
  } catch {
    return false;
  }
}

/** The registry of the enforcer that had the socket last, which left its path in the lock file; else the usual one. */
function registryOf(socket: string): string {
  const usual = join(dirname(socket), "state");
  try {
    const noted = readFileSync(`${socket}.lock`, "utf8").trim();
    return noted === "" ? usual : noted;
  } catch {
    return usual;
  }
}
