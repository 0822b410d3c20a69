import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { flowKey, quotedFlowKey, reverseFlowKey } from "../../enforcer/packet/flow-key.ts";
import { Packet } from "../../enforcer/packet/packet.ts";
import { parsePacket } from "../../enforcer/packet/parse.ts";
import { sequenceAdd, sequenceDifference } from "../../enforcer/packet/sequence.ts";
import { both, icmpPacket, ipPacket, tcpPacket, tcpSegment } from "./build.ts";

function parse(bytes: Uint8Array): Packet {
  const packet = new Packet();
  expect(parsePacket(bytes, 0, bytes.length, packet)).toBeUndefined();
  return packet;
}

describe.each(both)("flow keys over IPv$version", ({ version }) => {
  const size = version === 4 ? 4 : 16;
  const address = fc
    .uint8Array({ minLength: size, maxLength: size })
    .map((bytes) => Buffer.from([0xfd, ...bytes.subarray(1)]).toString("hex"));
  const port = fc.integer({ min: 1, max: 65_535 });
  const flow = fc.record({ source: address, destination: address, sourcePort: port, destinationPort: port });

  it("are the same for two packets exactly if protocol and 4-tuple are", () => {
    fc.assert(
      fc.property(
        flow,
        flow,
        fc.constantFrom("source", "destination", "sourcePort", "destinationPort"),
        (a, b, field) => {
          const key = (f: typeof a): string => flowKey(parse(tcpPacket(version, f, f)));
          const changed = { ...a, [field]: b[field] };
          expect(key({ ...a })).toBe(key(a));
          expect(key(changed) === key(a)).toBe(b[field] === a[field]);
        },
      ),
    );
  });

  it("tell TCP from UDP", () => {
    const udp = ipPacket(
      { version, protocol: 17 },
      Buffer.concat([tcpSegment({}).subarray(0, 4), Buffer.from([0, 8, 0, 0])]),
    );
    expect(flowKey(parse(udp))).not.toBe(flowKey(parse(tcpPacket(version, {}))));
  });

  it("have the other direction's key, and that of a quoted packet", () => {
    fc.assert(
      fc.property(flow, ({ source, destination, sourcePort, destinationPort }) => {
        const sent = tcpPacket(version, { sourcePort, destinationPort }, { source, destination });
        const answer = tcpPacket(
          version,
          { sourcePort: destinationPort, destinationPort: sourcePort },
          { source: destination, destination: source },
        );
        expect(reverseFlowKey(parse(sent))).toBe(flowKey(parse(answer)));
        const error = icmpPacket(version, version === 4 ? 3 : 1, 1, "00000000", sent);
        expect(quotedFlowKey(parse(error))).toBe(flowKey(parse(sent)));
      }),
    );
  });
});

describe("sequence numbers", () => {
  it.each([
    [0xffffffff, 1, 0],
    [0xfffffff0, 0x20, 0x10],
    [5, -6, 0xffffffff],
  ])("%i + %i wraps to %i", (sequence, count, sum) => {
    expect(sequenceAdd(sequence, count)).toBe(sum);
    expect(sequenceDifference(sum, sequence)).toBe(count);
  });
});
