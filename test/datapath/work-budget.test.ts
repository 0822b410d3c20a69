import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WorkBudget } from "../../enforcer/datapath/work-budget.ts";

const limits = { perSecond: 40, perSourcePerSecond: 8, sources: 4 };

function takeTimes(budget: WorkBudget, source: string, times: number, nowMs: number): string[] {
  return Array.from({ length: times }, () => budget.take(source, nowMs));
}

describe("work budget", () => {
  test("a source gets its burst, then waits for its refill", () => {
    const budget = new WorkBudget(limits, 0);
    expect(takeTimes(budget, "a", 3, 0)).toEqual(["granted", "granted", "source-exhausted"]);
    expect(budget.take("a", 124)).toBe("source-exhausted");
    expect(budget.take("a", 250)).toBe("granted");
  });

  test("one source that is exhausted costs the others nothing", () => {
    const budget = new WorkBudget(limits, 0);
    takeTimes(budget, "flood", 1_000, 0);
    expect(takeTimes(budget, "b", 2, 0)).toEqual(["granted", "granted"]);
  });

  test("all sources together share the total", () => {
    const budget = new WorkBudget({ ...limits, sources: 100 }, 0);
    const answers = Array.from({ length: 50 }, (_, index) => budget.take(`source ${index}`, 0));
    expect(answers.filter((answer) => answer === "granted")).toHaveLength(10);
    expect(answers.at(-1)).toBe("total-exhausted");
  });

  test("never grants more than the burst and the rate allow, whatever the times and sources", () => {
    const call = fc.record({ source: fc.constantFrom("a", "b", "c", "d", "e", "f"), waitMs: fc.nat(200) });
    fc.assert(
      fc.property(fc.array(call, { maxLength: 300 }), (calls) => {
        const budget = new WorkBudget(limits, 0);
        let nowMs = 0;
        let granted = 0;
        for (const { source, waitMs } of calls) {
          nowMs += waitMs;
          if (budget.take(source, nowMs) === "granted") granted += 1;
        }
        expect(granted).toBeLessThanOrEqual(limits.perSecond / 4 + (nowMs * limits.perSecond) / 1_000);
      }),
    );
  });
});
