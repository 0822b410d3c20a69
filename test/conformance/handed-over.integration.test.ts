/**
 * The conformance suite again where an enforcer takes calls over: what the launcher carries to it and back is what a runtime gets from
 * the plugin's own process. Cases about the process itself are not repeated.
 */
import { expect, it } from "vitest";
import { addCases } from "../../conformance/cases/add.ts";
import { argsCases } from "../../conformance/cases/args.ts";
import { checkCases } from "../../conformance/cases/check.ts";
import { configCases } from "../../conformance/cases/config.ts";
import { errorCases } from "../../conformance/cases/errors.ts";
import { gcCases } from "../../conformance/cases/gc.ts";
import { runAll } from "../../conformance/runner.ts";
import { HandoverServer } from "../../enforcer/control/handover.ts";
import { performCalls } from "../../enforcer/daemon/handed-calls.ts";
import { Logger } from "../../enforcer/telemetry/log.ts";
import { connectControl } from "../../plugin/control-client.ts";
import { getPeerCredentials } from "../../netlink/netns.ts";
import { pluginBinary } from "../harness/binaries.ts";

const cases = [...argsCases, ...configCases, ...addCases, ...checkCases, ...gcCases, ...errorCases];
const log = new Logger({ level: "error", format: "json", write: () => undefined });
/** Verbs of the calls that were taken over and performed. */
const performed = new Set<string | undefined>();

/** Takes calls over beside a case's fake enforcer. */
async function takeCalls(socket: string): Promise<() => void> {
  const perform = performCalls(socket, connectControl);
  const server = await HandoverServer.listen({
    controlPath: socket,
    perform: async (call, gone) => {
      const outcome = await perform(call, gone);
      if (outcome !== "declined") performed.add(call.environment["CNI_COMMAND"]);
      return outcome;
    },
    peerUid: (fd) => getPeerCredentials(fd).uid,
    log,
  });
  return () => server.close();
}

it("passes every case", async () => {
  const results = await runAll(cases, pluginBinary(), 2, takeCalls);
  expect(results.filter(({ outcome }) => outcome !== "passed")).toEqual([]);
  expect([...performed].sort()).toEqual(["ADD", "CHECK", "DEL", "GC", "STATUS"]);
}, 600_000);
