import { expect, test } from "vitest";
import { Reporter } from "../../enforcer/datapath/reporter.ts";
import type { FlowRecord } from "../../enforcer/handshake/flow-record.ts";
import { flowOf, type PackedFlows, type TimedFlow } from "../../enforcer/handshake/packed-flows.ts";

function flowsOf(report: ReturnType<Reporter["take"]>): TimedFlow[] {
  const flows = report?.flows;
  return Array.from({ length: flows?.count ?? 0 }, (_, index) => flowOf(flows as PackedFlows, index));
}

const end = { address: new Uint8Array(16), port: 0 };
const record: FlowRecord = {
  verdict: "deny",
  reason: "no-rule",
  proof: "none",
  reporter: "destination",
  protocol: "tcp",
  source: end,
  destination: end,
};

test("says nothing where nothing happened", () => {
  expect(new Reporter().take()).toBeUndefined();
});

test("counters are totals, flows are those since the last report", () => {
  const reporter = new Reporter();
  reporter.count("no-rule");
  reporter.flow(record, 5);
  const first = reporter.take();
  expect(flowsOf(first)).toEqual([{ timeMs: 5, record }]);
  expect(first?.packets).toEqual(new Map([["no-rule", 1]]));
  reporter.count("no-rule");
  const second = reporter.take();
  expect(flowsOf(second)).toEqual([]);
  expect(second?.packets).toEqual(new Map([["no-rule", 2]]));
});

test("decisions beyond the room are counted as lost; refusals take no room from what was allowed", () => {
  const reporter = new Reporter();
  const allowed: FlowRecord = { ...record, verdict: "allow", reason: "rule-allow" };
  for (let index = 0; index < 300; index += 1) reporter.flow(record, index);
  for (let index = 0; index < 8_200; index += 1) reporter.flow(allowed, index);
  for (let index = 0; index < 3; index += 1) reporter.flow(record, index);
  const report = reporter.take();
  const verdicts = Map.groupBy(flowsOf(report), (flow) => flow.record.verdict);
  expect([verdicts.get("deny")?.length, verdicts.get("allow")?.length]).toEqual([256, 8_192]);
  expect(report?.flowsLost).toBe(44 + 8 + 3);
  reporter.flow(record, 1);
  const next = reporter.take();
  expect(flowsOf(next)).toEqual([{ timeMs: 1, record }]);
  expect(next?.flowsLost).toBe(0);
});

test("each reason names the unit that met it last, since the last report", () => {
  const reporter = new Reporter();
  reporter.count("no-rule", 1, "a");
  reporter.count("no-rule", 1, "b");
  reporter.count("queue-overflow", 5);
  expect(reporter.take()?.units).toEqual(new Map([["no-rule", "b"]]));
  reporter.count("queue-overflow");
  expect(reporter.take()?.units).toEqual(new Map());
});

test("failures are told once each", () => {
  const reporter = new Reporter();
  for (const text of ["one", "two", "one"]) reporter.failure(new Error(text));
  expect(reporter.take()).toMatchObject({ failures: ["one", "two"], packets: new Map([["queue-error", 3]]) });
});
