/** Owns GC: attachments of this network that the runtime doesn't know any more are let go. Source: CNI SPEC 1.1.0, "GC". */
import { decodeGcAnswer } from "../../enforcer/control/messages.ts";
import { withEnforcer } from "../call.ts";
import type { Call } from "../call.ts";
import { CniError } from "../cni-error.ts";
import { readValidAttachments } from "../network-config.ts";

/** Without a list nothing is known to be stale, so nothing is done. */
export async function gc(call: Call): Promise<void> {
  const attachments = readValidAttachments(call.config.fields);
  if (attachments === undefined) return;
  const answer = await withEnforcer(call, (connection) =>
    connection.request({ op: "gc", network: call.config.network, attachments }, decodeGcAnswer),
  );
  if (answer.failures.length > 0) {
    throw new CniError(
      "notGranted",
      `not every attachment could be let go: ${answer.failures.slice(0, 10).join("; ")}`,
    );
  }
}
