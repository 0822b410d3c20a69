/** Bytes that nobody would send, at every queue: always a verdict, never an exception, and the pair connects afterwards. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Queue } from "../../enforcer/handshake/outcome.ts";
import { Dialogue } from "./dialogue.ts";

interface Damage {
  readonly packet: number;
  readonly queue: Queue;
  readonly end: "client" | "server";
  readonly bytes: readonly { readonly at: number; readonly value: number }[];
  readonly length: number | undefined;
}

const damage: fc.Arbitrary<Damage> = fc.record({
  packet: fc.nat({ max: 4 }),
  queue: fc.constantFrom<Queue>(0, 1, 2, 3, 4, 5, 6),
  end: fc.constantFrom("client" as const, "server" as const),
  bytes: fc.array(fc.record({ at: fc.nat({ max: 200 }), value: fc.nat({ max: 255 }) }), { maxLength: 4 }),
  length: fc.option(fc.nat({ max: 200 }), { nil: undefined }),
});

function apply(packet: Buffer, { bytes, length }: Damage): Buffer {
  const copy = Buffer.from(packet.subarray(0, length ?? packet.length));
  for (const { at, value } of bytes) if (at < copy.length) copy[at] = value;
  return copy;
}

test.each([4, 6] as const)("IPv%i packets with any damage, at any queue", { timeout: 60_000 }, (version) => {
  fc.assert(
    fc.property(fc.array(damage, { minLength: 1, maxLength: 20 }), (damages) => {
      const d = new Dialogue({ version });
      const syn = d.wireSyn();
      const synAck = d.wireSynAck(syn);
      const ack = d.wireAck(synAck);
      const packets = [syn, synAck, ack, d.data("GET"), Buffer.alloc(64)];
      for (const one of damages) {
        const outcome = d[one.end].judge(one.queue, apply(packets[one.packet] ?? syn, one));
        expect(["accept", "drop"]).toContain(outcome.verdict);
        if (outcome.verdict === "drop") expect(outcome.reason).not.toBe("internal-error");
      }
      d.client.nowMs = d.server.nowMs = 200_000;
      d.client.expire();
      d.server.expire();
      d.connect();
      expect(d.server.marked.size).toBe(1);
    }),
    { numRuns: 150 },
  );
});
