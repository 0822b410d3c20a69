import fc from "fast-check";
import { expect, test } from "vitest";
import { FlowRing, type TimedFlow } from "../../enforcer/telemetry/flow-ring.ts";

function flow(timeMs: number): TimedFlow {
  const end = { address: new Uint8Array(16), port: 1 };
  return {
    timeMs,
    record: {
      verdict: "deny",
      reason: "no-rule",
      proof: "token",
      reporter: "destination",
      protocol: "tcp",
      source: end,
      destination: end,
    },
  };
}

test("keeps the last ones in order, and knows how many are missing", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.nat(60), fc.nat(5), (size, count, lost) => {
      const ring = new FlowRing(size);
      for (let index = 0; index < count; index++) ring.push(flow(index));
      ring.addLost(lost);
      const kept = Math.min(size, count);
      expect(ring.recent().map(({ timeMs }) => timeMs)).toEqual(
        Array.from({ length: kept }, (_, i) => count - kept + i),
      );
      expect(ring.missing).toBe(count - kept + lost);
    }),
  );
});

test("followers hear each new one until they stop", () => {
  const ring = new FlowRing(2);
  ring.push(flow(1));
  const heard: number[] = [];
  const stop = ring.follow(({ timeMs }) => heard.push(timeMs));
  ring.push(flow(2));
  ring.push(flow(3));
  stop();
  ring.push(flow(4));
  expect(heard).toEqual([2, 3]);
});
