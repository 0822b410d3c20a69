import { beforeEach, expect, test } from "vitest";
import { reasonTexts, type Reason } from "../../enforcer/reason.ts";
import { RefusalLog } from "../../enforcer/telemetry/refusal-log.ts";
import { FakeLog } from "../control/fakes.ts";

let log: FakeLog;
let nowMs: number;
let refusals: RefusalLog;

beforeEach(() => {
  log = new FakeLog();
  nowMs = 5_000;
  refusals = new RefusalLog(log, () => nowMs);
});

function take(counters: Partial<Record<Reason, number>>, units: Partial<Record<Reason, string>> = {}): void {
  const entries = <T>(from: Partial<Record<Reason, T>>) => new Map(Object.entries(from) as [Reason, T][]);
  refusals.take(entries(counters), entries(units));
}

test("the first refusal for a reason is told at once, with its unit", () => {
  take({ "packet-flags": 1 }, { "packet-flags": "00000000000000aa" });
  const fields = { count: 1, pu: "00000000000000aa" };
  expect(log.lines).toEqual([{ level: "warn", message: "refused: packet-flags", fields }]);
});

test("the next line comes after ten seconds and counts what came between; silence writes nothing", () => {
  take({ "no-rule": 1 });
  for (let total = 2; total <= 1_000; total += 1) {
    nowMs += 10;
    take({ "no-rule": total });
  }
  take({ "no-rule": 1_000 });
  nowMs += 10;
  take({ "no-rule": 1_000 });
  nowMs += 60_000;
  take({ "no-rule": 1_000 });
  expect(log.lines.map(({ level, fields }) => [level, fields["count"]])).toEqual([
    ["info", 1],
    ["info", 999],
  ]);
});

test("what was let through is no refusal", () => {
  take({ "rule-allow": 3, "address-allow": 2 });
  expect(log.lines).toEqual([]);
});

test("at most one line a reason in ten seconds, whatever happens", () => {
  const reasons = Object.keys(reasonTexts);
  for (let round = 1; round <= 90; round += 1) {
    take(Object.fromEntries(reasons.map((reason) => [reason, round])));
    nowMs += 100;
  }
  expect(log.lines.length).toBe(new Set(log.lines.map(({ message }) => message)).size);
  expect(log.lines.length).toBe(reasons.length - 2);
});
