/**
 * Owns DEL: it succeeds whatever is left of the container, for the runtime repeats one that fails for ever. What could not
 * be done is logged; the enforcer lets go of PUs whose namespace is gone by itself. Source: CNI SPEC 1.1.0, "DEL".
 */
import { decodeAnswer } from "../../enforcer/control/messages.ts";
import { attachmentKey, withEnforcer } from "../call.ts";
import type { Call } from "../call.ts";
import { CniError, failures } from "../cni-error.ts";
import { ownerOf, uninstall } from "../enforcement.ts";
import type { DelInvocation } from "../environment.ts";

type DelCall = Call<DelInvocation>;

/** The enforcer first: rules without a reader are closed, a namespace without rules is open. */
export async function del(call: DelCall): Promise<void> {
  await tolerate(call, "the enforcer could not be told of the DEL", () =>
    withEnforcer(call, (connection) =>
      connection.request({ op: "del", ...attachmentKey(call) }, decodeAnswer),
    ),
  );
  await tolerate(call, "the rules could not be taken out of the namespace", () => clean(call));
}

function clean(call: DelCall): void {
  const { netns, ownNetnsAllowed } = call.invocation;
  if (netns === undefined || (!ownNetnsAllowed && call.edges.isOwnNamespace(netns))) return;
  const namespace = openIfThere(call, netns);
  if (namespace === undefined) return;
  try {
    uninstall(namespace, ownerOf(attachmentKey(call)));
  } finally {
    namespace.close();
  }
}

function openIfThere(
  call: DelCall,
  netns: string,
): ReturnType<DelCall["edges"]["openNamespace"]> | undefined {
  try {
    return call.edges.openNamespace(netns);
  } catch (error) {
    if (error instanceof CniError && error.code === failures.invalidNamespace.code) return undefined;
    throw error;
  }
}

async function tolerate(call: DelCall, message: string, work: () => unknown): Promise<void> {
  try {
    await work();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    call.log({ level: "warn", message, fields: { ...attachmentKey(call), reason } });
  }
}
