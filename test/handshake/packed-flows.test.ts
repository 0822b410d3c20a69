/** Decisions come out of their packed form as they went in, by way of a report and in the ring. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { FlowEnd, FlowRecord } from "../../enforcer/handshake/flow-record.ts";
import { flowOf, FlowPacker, outcomeOf, PackedRing } from "../../enforcer/handshake/packed-flows.ts";

const parties: readonly Pick<FlowEnd, "id" | "attributes">[] = [
  {},
  { id: "a", attributes: new Map([["app", ["web"]]]) },
  { id: "b", attributes: new Map([["app", ["web"]]]) },
  { id: "b", attributes: new Map([["app", ["web", "app"]]]) },
  { id: "c", attributes: new Map() },
];

const end: fc.Arbitrary<FlowEnd> = fc
  .record({
    party: fc.constantFrom(...parties),
    address: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    port: fc.nat({ max: 65_535 }),
  })
  .map(({ party, address, port }) => ({ ...party, address, port }));

const record: fc.Arbitrary<FlowRecord> = fc.record(
  {
    verdict: fc.constantFrom("allow", "deny"),
    reason: fc.constantFrom("no-rule", "rule-allow", "token-expired"),
    rule: fc.constantFrom("web/in", "web/out"),
    proof: fc.constantFrom("token", "address", "none"),
    reporter: fc.constantFrom("source", "destination"),
    protocol: fc.constantFrom("tcp", "udp", "47"),
    source: end,
    destination: end,
    latencyUs: fc.nat(),
  },
  { requiredKeys: ["verdict", "reason", "proof", "reporter", "protocol", "source", "destination"] },
);

test("a record is what it was, also after a report, and in a ring", () => {
  fc.assert(
    fc.property(
      fc.array(record, { maxLength: 40 }),
      fc.array(record, { maxLength: 40 }),
      (former, records) => {
        const packer = new FlowPacker();
        for (const one of former) packer.add(one, 1);
        packer.take();
        for (const [index, one] of records.entries()) packer.add(one, index + 0.5);
        const flows = structuredClone(packer.take());
        expect(flows.count).toBe(records.length);
        const ring = new PackedRing(7);
        for (const [index, one] of records.entries()) {
          const timed = { timeMs: index + 0.5, record: one };
          expect(flowOf(flows, index)).toEqual(timed);
          expect(flowOf(flows, index).record).toMatchObject(outcomeOf(flows, index));
          ring.put(index % 7, flows, index);
          expect(ring.get(index % 7)).toEqual(timed);
        }
      },
    ),
  );
});

test("equal identities are kept once", () => {
  const ring = new PackedRing(4);
  const source = { address: new Uint8Array(16), port: 1 };
  const whole = {
    verdict: "allow",
    reason: "rule-allow",
    proof: "token",
    reporter: "source",
    protocol: "tcp",
  } as const;
  for (let slot = 0; slot < 2; slot++) {
    const packer = new FlowPacker();
    packer.add({ ...whole, source, destination: { ...source, ...parties[1] } }, 0);
    ring.put(slot, structuredClone(packer.take()), 0);
  }
  expect(ring.get(0).record.destination.attributes).toBe(ring.get(1).record.destination.attributes);
});
