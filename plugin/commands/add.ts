/** Owns ADD: a pod becomes a processing unit, or nothing changes. Source: CNI SPEC 1.1.0, "ADD". */
import { decodeAddAnswer, decodeAnswer } from "../../enforcer/control/messages.ts";
import type { AddRequest } from "../../enforcer/control/messages.ts";
import { attachmentKey, withEnforcer } from "../call.ts";
import type { Call } from "../call.ts";
import { parseCniArgs, podReference } from "../cni-args.ts";
import type { ControlConnection } from "../control-client.ts";
import { install } from "../enforcement.ts";
import { collectLabels } from "../labels.ts";
import { member } from "../json.ts";
import type { PodNamespace } from "../pod-namespace.ts";
import { readPreviousResult, resultText } from "../previous-result.ts";
import type { PreviousResult } from "../previous-result.ts";
import { inNamespace, podAddresses } from "./pod.ts";
import type { PodInvocation } from "../environment.ts";

type AddCall = Call<PodInvocation>;

/** Enforces the pod and gives the result's text: prevResult as it came. */
export async function add(call: AddCall): Promise<string> {
  const previous = readPreviousResult(call.config, call.invocation.ifname);
  const claims = readClaims(call);
  await inNamespace(call, (namespace) => {
    const request = describePod(call, claims, namespace, previous);
    return withEnforcer(call, (connection) => enforce(connection, namespace, request));
  });
  return resultText(previous.source, call.config.cniVersion);
}

type Claims = Pick<AddRequest, "attributes" | "pod">;

function readClaims({ invocation, config }: AddCall): Claims {
  const cniArgs = parseCniArgs(invocation.args);
  const attributes = collectLabels({
    attributes: member(config.fields, "attributes"),
    args: member(config.fields, "args"),
    runtimeConfig: member(config.fields, "runtimeConfig"),
    cniArgs,
  });
  const pod = podReference(cniArgs);
  return { attributes, ...(pod === undefined ? {} : { pod }) };
}

function describePod(
  call: AddCall,
  claims: Claims,
  namespace: PodNamespace,
  previous: PreviousResult,
): AddRequest {
  return {
    op: "add",
    ...attachmentKey(call),
    netnsPath: call.invocation.netns,
    netnsCookie: namespace.cookie,
    addresses: podAddresses(namespace, call.invocation.ifname, previous),
    ...claims,
    pluginVersion: call.edges.pluginVersion,
  };
}

/** The enforcer listens, then the rules are there, then both know it. If it ends in between, the enforcer undoes its part, and we ours. */
async function enforce(
  connection: ControlConnection,
  namespace: PodNamespace,
  request: AddRequest,
): Promise<void> {
  const answer = await connection.request(request, decodeAddAnswer);
  const undo = install(namespace, { puId: answer.puId, interfaceName: request.ifname }, answer);
  try {
    await connection.request({ op: "enforce", puId: answer.puId }, decodeAnswer);
  } catch (error) {
    undo();
    throw error;
  }
}
