import fc from "fast-check";
import { expect, test } from "vitest";
import { FlowPacker, PackedRing, type PackedFlows } from "../../enforcer/handshake/packed-flows.ts";
import { FlowRing } from "../../enforcer/telemetry/flow-ring.ts";

function flows(...times: readonly number[]): PackedFlows {
  const end = { address: new Uint8Array(16), port: 1 };
  const packer = new FlowPacker();
  for (const timeMs of times)
    packer.add(
      {
        verdict: "deny",
        reason: "no-rule",
        proof: "token",
        reporter: "destination",
        protocol: "tcp",
        source: end,
        destination: end,
      },
      timeMs,
    );
  return packer.take();
}

test("keeps the last ones in order, and knows how many are missing", () => {
  fc.assert(
    fc.property(fc.nat(20), fc.array(fc.nat(30), { maxLength: 8 }), fc.nat(5), (size, reports, lost) => {
      const ring = new FlowRing(new PackedRing(size));
      let count = 0;
      for (const length of reports) ring.push(flows(...Array.from({ length }, () => count++)));
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
  const ring = new FlowRing(new PackedRing(2));
  ring.push(flows(1));
  const heard: number[] = [];
  const stop = ring.follow(({ timeMs }) => heard.push(timeMs));
  ring.push(flows(2));
  ring.push(flows(3));
  stop();
  ring.push(flows(4));
  expect(heard).toEqual([2, 3]);
});
