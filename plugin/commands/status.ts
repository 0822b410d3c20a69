/** Owns STATUS: can a pod be added now? Waits for nothing and changes nothing. Source: CNI SPEC 1.1.0, "STATUS". */
import { readdirSync } from "node:fs";
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

/** Whether the enforcer's registry, by default beside its socket, holds a pod. */
function hasRegisteredPods(socket: string): boolean {
  try {
    return readdirSync(join(dirname(socket), "state")).length > 0;
  } catch {
    return false;
  }
}
