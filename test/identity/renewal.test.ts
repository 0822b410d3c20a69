/** Renewal: spread, never late, at once when the clock jumps. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ClockWatch, RenewalSchedule } from "../../enforcer/identity/renewal.ts";

const lifetimeMs = 600_000;

describe("RenewalSchedule", () => {
  it.each([
    [0, 150_000],
    [0.5, 300_000],
    [0.75, 375_000],
  ])("with random %d a token is due after %i ms", (random, dueMs) => {
    const schedule = new RenewalSchedule(() => random);
    schedule.minted("a", lifetimeMs, 1000);
    expect(schedule.due(1000 + dueMs - 1)).toEqual([]);
    expect(schedule.due(1000 + dueMs)).toEqual(["a"]);
  });

  it("never lets a token come into its last quarter", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.nat(),
        (random, nowMs) => {
          const schedule = new RenewalSchedule(() => random);
          schedule.minted("a", lifetimeMs, nowMs);
          expect(schedule.due(nowMs + lifetimeMs * 0.25 - 1)).toEqual([]);
          expect(schedule.due(nowMs + lifetimeMs * 0.75)).toEqual(["a"]);
        },
      ),
    );
  });

  it("spreads units that start together over half a lifetime", () => {
    let calls = 0;
    const schedule = new RenewalSchedule(() => (calls++ % 100) / 100);
    for (let unit = 0; unit < 100; unit++) schedule.minted(`pu${unit}`, lifetimeMs, 0);
    const dueBy = [150_000, 225_000, 300_000, 450_000].map((atMs) => schedule.due(atMs).length);
    expect(dueBy).toEqual([1, 26, 51, 100]);
  });

  it("keeps a unit due until something is done about it", () => {
    const schedule = new RenewalSchedule(() => 0);
    schedule.minted("a", lifetimeMs, 0);
    expect([schedule.due(200_000), schedule.due(200_000)]).toEqual([["a"], ["a"]]);
    schedule.failed("a", 200_000);
    expect([schedule.due(204_999), schedule.due(205_000)]).toEqual([[], ["a"]]);
    schedule.remove("a");
    expect(schedule.due(1e9)).toEqual([]);
  });

  it("has all due at once after a jump or a reload", () => {
    const schedule = new RenewalSchedule(() => 0.5);
    schedule.minted("a", lifetimeMs, 0);
    schedule.minted("b", lifetimeMs, 0);
    schedule.renewAll();
    expect(schedule.due(0)).toEqual(["a", "b"]);
  });
});

describe("ClockWatch", () => {
  it.each([
    ["no jump", 1000, undefined],
    ["slewing", 1500, undefined],
    ["a jump ahead", 31_000, 30_000],
    ["a jump back", -59_000, -60_000],
  ])("sees %s", (_name, wallStepMs, jumpMs) => {
    const watch = new ClockWatch(1000, 5000, 1_800_000_000_000);
    expect(watch.observe(6000, 1_800_000_000_000 + wallStepMs)).toBe(jumpMs);
  });

  it("reports a jump once", () => {
    const watch = new ClockWatch(1000, 0, 0);
    expect(watch.observe(1000, 100_000)).toBe(99_000);
    expect(watch.observe(2000, 101_000)).toBeUndefined();
  });
});
