/** Queue messages: what is decoded into the one reused packet, and the bytes of verdicts. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { MessageWriter, viewOf } from "../../netlink/cursor.ts";
import {
  createQueuePacket,
  decodeQueuePacket,
  encodeBind,
  encodeCopyPackets,
  parseQueueStatistics,
  VerdictWriter,
} from "../../netlink/queue.ts";

const packet = createQueuePacket();

/** A packet message as the kernel writes it. */
function message({ id = 9, payload = Uint8Array.of(0x45, 1, 2, 3, 4), mark = 0x5abfffff } = {}): Uint8Array {
  const writer = new MessageWriter();
  writer.begin(0x0300, 0, 0);
  writer.nfgen(2, 6);
  writer.bytes(1, Uint8Array.of(id >>> 24, id >>> 16, id >>> 8, id, 0x08, 0x00, 4));
  writer.u32be(6, 3);
  writer.u32be(3, mark);
  writer.bytes(9, new Uint8Array(12));
  writer.u32be(13, 70_000);
  writer.u32be(14, 1);
  writer.bytes(10, payload);
  writer.end();
  return writer.written().slice();
}

function decode(bytes: Uint8Array, length = bytes.length): string {
  return decodeQueuePacket(viewOf(bytes), 0, length, packet);
}

test("everything about a packet, wherever it lies", () => {
  const bytes = message();
  const buffer = new Uint8Array(bytes.length + 64);
  buffer.set(bytes, 32);
  expect(decodeQueuePacket(viewOf(buffer), 32, bytes.length, packet)).toBe("packet");
  const { payloadOffset, ...rest } = packet;
  expect(rest).toEqual({
    queue: 6,
    id: 9,
    hook: 4,
    protocol: 0x0800,
    mark: 0x5abfffff,
    inDevice: 0,
    outDevice: 3,
    payloadLength: 5,
    fullLength: 70_000,
    packetInfo: 1,
    errno: 0,
  });
  expect([...buffer.subarray(payloadOffset, payloadOffset + 5)]).toEqual([0x45, 1, 2, 3, 4]);
});

test("nothing of one packet is left in the next", () => {
  decode(message());
  const writer = new MessageWriter();
  writer.begin(0x0300, 0, 0);
  writer.nfgen(2, 0);
  writer.bytes(1, Uint8Array.of(0, 0, 0, 1, 0x86, 0xdd, 0));
  writer.end();
  expect(decode(writer.written())).toBe("packet");
  expect(packet).toEqual({ ...createQueuePacket(), id: 1, protocol: 0x86dd });
});

test("every strict prefix of a packet message is malformed", () => {
  const bytes = message();
  for (let length = 0; length < bytes.length; length++) expect(decode(bytes, length)).toBe("malformed");
  for (let length = 20; length < bytes.length; length++) {
    const claims = bytes.slice();
    viewOf(claims).setUint32(0, length, true);
    expect(["malformed", "packet"]).toContain(decode(claims));
  }
});

test("any change of any byte is decoded or refused, and never points beyond the message", () => {
  const bytes = message();
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(bytes.length), (index, value, length) => {
      const changed = bytes.with(index, value);
      if (decode(changed, length) !== "packet") return;
      expect(packet.payloadOffset + packet.payloadLength).toBeLessThanOrEqual(length);
    }),
    { numRuns: 2000 },
  );
});

test("the kernel doesn't pad what comes last, the packet", () => {
  const bytes = message();
  viewOf(bytes).setUint32(0, bytes.length - 3, true);
  expect([decode(bytes), packet.payloadLength]).toEqual(["packet", 5]);
});

test("a packet without its header, and numbers of another size, are malformed", () => {
  const without = new MessageWriter();
  without.begin(0x0300, 0, 0);
  without.nfgen(2, 0);
  without.end();
  expect(decode(without.written())).toBe("malformed");
  for (const type of [3, 5, 6, 13, 14]) {
    const writer = new MessageWriter();
    writer.begin(0x0300, 0, 0);
    writer.nfgen(2, 0);
    writer.bytes(1, new Uint8Array(7));
    writer.u16be(type, 1);
    writer.end();
    expect(decode(writer.written())).toBe("malformed");
  }
});

test("errors have their errno, what isn't ours is other", () => {
  const error = new Uint8Array(36);
  viewOf(error).setUint32(0, 36, true);
  viewOf(error).setUint16(4, 2, true);
  viewOf(error).setInt32(16, -2, true);
  expect([decode(error), packet.errno]).toEqual(["error", 2]);
  viewOf(error).setUint16(4, 0x0a00, true);
  expect(decode(error)).toBe("other");
});

test("verdicts have the kernel's bytes", () => {
  const verdicts = new VerdictWriter(4096);
  verdicts.accept(6, 9, 0x50000000, Uint8Array.of(0x45, 1, 2, 3, 4));
  verdicts.accept(6, 10, undefined);
  verdicts.accept(6, 11, 0);
  verdicts.drop(0x0102, 0xfffffffe);
  verdicts.dropUpTo(6, 12);
  const text = Buffer.from(verdicts.buffer.subarray(0, verdicts.length)).toString("hex");
  expect(text).toBe(
    [
      "34000000" + "01030100" + "0000000000000000" + "00000006" + "0c0002000000000100000009",
      "0800030050000000" + "09000a004501020304000000",
      "20000000" + "01030100" + "0000000000000000" + "00000006" + "0c000200000000010000000a",
      "28000000" +
        "01030100" +
        "0000000000000000" +
        "00000006" +
        "0c000200000000010000000b" +
        "0800030000000000",
      "20000000" + "01030100" + "0000000000000000" + "00000102" + "0c00020000000000fffffffe",
      "20000000" + "03030100" + "0000000000000000" + "00000006" + "0c000200000000000000000c",
    ].join(""),
  );
  expect(verdicts.count).toBe(5);
  verdicts.reset();
  expect([verdicts.count, verdicts.length]).toEqual([0, 0]);
});

test("what fits goes in, whatever its length", () => {
  const verdicts = new VerdictWriter(200);
  fc.assert(
    fc.property(fc.nat(200), fc.nat(100), (first, second) => {
      verdicts.reset();
      for (const length of [first, second]) {
        if (verdicts.fits(length)) verdicts.accept(1, 1, 1, new Uint8Array(length));
      }
      expect(verdicts.length).toBeLessThanOrEqual(200);
    }),
  );
});

test("configuration has the kernel's bytes", () => {
  const settings = { copyBytes: 0xfffb, maxLength: 1024, flags: 4 };
  const hexadecimal = (encode: (writer: MessageWriter) => void): string => {
    const writer = new MessageWriter();
    encode(writer);
    return Buffer.from(writer.written()).toString("hex");
  };
  expect(hexadecimal((writer) => encodeBind(writer, 7, settings))).toBe(
    "00000007" + "0800010001000000" + "0800030000000400" + "080004000000001f" + "0800050000000004",
  );
  expect(hexadecimal((writer) => encodeCopyPackets(writer, 7, settings))).toBe(
    "00000007" + "090002000000fffb02000000",
  );
});

test("counters of /proc", () => {
  const text = "    3  34567     2 2 65531     8     1        9  1\nnonsense\n";
  expect(parseQueueStatistics(text)).toEqual([
    { queue: 3, portId: 34567, waiting: 2, dropped: 8, droppedByReader: 1, lastId: 9 },
  ]);
});
