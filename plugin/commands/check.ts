/** Owns CHECK: is the container still enforced as ADD left it? Reads only. Source: CNI SPEC 1.1.0, "CHECK". */
import { setTimeout } from "node:timers/promises";
import { decodeCheckAnswer } from "../../enforcer/control/messages.ts";
import type { CheckAnswer, CheckRequest } from "../../enforcer/control/messages.ts";
import { attachmentKey, withEnforcer } from "../call.ts";
import type { Call } from "../call.ts";
import { CniError, failures } from "../cni-error.ts";
import type { ControlConnection } from "../control-client.ts";
import { findAlteration } from "../enforcement.ts";
import { readPreviousResult } from "../previous-result.ts";
import { inNamespace, podAddresses } from "./pod.ts";
import type { PodInvocation } from "../environment.ts";

type CheckCall = Call<PodInvocation>;

export async function check(call: CheckCall): Promise<void> {
  const previous = readPreviousResult(call.config, call.invocation.ifname);
  await inNamespace(call, async (namespace) => {
    podAddresses(namespace, call.invocation.ifname, previous);
    const key = attachmentKey(call);
    const request: CheckRequest = { op: "check", ...key, netnsCookie: namespace.cookie };
    const answer = await withEnforcer(call, (connection) => askUntilSettled(connection, request));
    const problem = findAlteration(namespace, { puId: answer.puId, interfaceName: key.ifname }, answer);
    if (problem !== undefined) throw new CniError("rulesAltered", `the pod's rules were altered: ${problem}`);
  });
}

const settleMs = 1_000;
const pauseMs = 100;

/** An enforcer that says "try again later" is converging: it gets a moment, not the runtime's next CHECK. */
async function askUntilSettled(connection: ControlConnection, request: CheckRequest): Promise<CheckAnswer> {
  for (let waitedMs = 0; ; waitedMs += pauseMs) {
    try {
      return await connection.request(request, decodeCheckAnswer);
    } catch (error) {
      const converging = error instanceof CniError && error.code === failures.tryLater.code;
      if (!converging || waitedMs >= settleMs) throw error;
    }
    await setTimeout(pauseMs);
  }
}
