/** Message framing and acknowledgements with their extended attributes. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { MessageWriter, viewOf } from "../../netlink/cursor.ts";
import { NetlinkError } from "../../netlink/error.ts";
import { decodeAcknowledgement, decodeMessages, type Message } from "../../netlink/message.ts";

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, "hex"));
}

test("a datagram's messages", () => {
  const writer = new MessageWriter();
  for (const sequence of [1, 2]) {
    writer.begin(0x10, 1, sequence);
    writer.u8(1, sequence);
    writer.end();
  }
  const decoded = decodeMessages(writer.written());
  expect(decoded).toEqual({
    ok: true,
    value: [1, 2].map((sequence) => ({
      type: 0x10,
      flags: 1,
      sequence,
      payload: Uint8Array.of(5, 0, 1, 0, sequence, 0, 0, 0),
    })),
  });
  for (let length = 1; length < writer.length; length++) {
    expect(decodeMessages(writer.written().subarray(0, length)).ok).toBe(length === 24);
  }
});

test.each([
  ["no length", "00000000100000000000000000000000"],
  ["less than its header", "0f000000100000000000000000000000"],
  ["more than there is", "11000000100000000000000000000000"],
  ["the largest length", "ffffffff100000000000000000000000"],
])("a message that claims %s is refused", (_, hex) => {
  expect(decodeMessages(bytes(hex)).ok).toBe(false);
});

test("any bytes are messages or have a reason", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (datagram) => {
      const decoded = decodeMessages(datagram);
      if (!decoded.ok) expect(decoded.reason).not.toBe("");
      else for (const message of decoded.value) decodeAcknowledgement(message);
    }),
  );
});

/** An NLMSG_ERROR with NLM_F_CAPPED and NLM_F_ACK_TLVS: ENOENT, "no such thing" at byte 36. */
function refusal(flags: number, quoted: Uint8Array): Message {
  const writer = new MessageWriter();
  writer.string(1, "no such thing");
  writer.u32(2, 36);
  writer.u32(5, 3);
  const code = new Uint8Array(4);
  viewOf(code).setInt32(0, -2, true);
  const payload = Buffer.concat([code, quoted, writer.written()]);
  return { type: 2, flags, sequence: 1, payload: Uint8Array.from(payload) };
}

const header = bytes("14000000060a05000100000000000000");
const details = { message: "no such thing", offset: 36, missingType: 3 };

test("a refusal has the kernel's words, whether it quotes the header or the whole message", () => {
  const wanted = { ok: true, value: { errno: 2, extendedAck: details } };
  expect(decodeAcknowledgement(refusal(0x300, header))).toEqual(wanted);
  expect(decodeAcknowledgement(refusal(0x200, bytes("14000000060a0500010000000000000001000000")))).toEqual(
    wanted,
  );
  expect(decodeAcknowledgement(refusal(0x100, header))).toMatchObject({ ok: true, value: { errno: 2 } });
});

test("every refusal that is cut, but between attributes, is refused", () => {
  const { payload, ...rest } = refusal(0x300, header);
  const ends = new Set([20, 38, 39, 40, 48]);
  for (let length = 0; length < payload.length; length++) {
    const cut = decodeAcknowledgement({ ...rest, payload: payload.subarray(0, length) });
    expect(cut.ok).toBe(ends.has(length));
  }
});

test("a quoted length that lies is refused", () => {
  expect(decodeAcknowledgement(refusal(0x200, bytes("ff000000060a05000100000000000000"))).ok).toBe(false);
  expect(decodeAcknowledgement(refusal(0x200, bytes("00000000060a05000100000000000000"))).ok).toBe(false);
});

test("the error says operation, code and what the kernel said", () => {
  const error = new NetlinkError("replace tables", 2, details);
  expect([error.code, error.errno, error.operation, error.extendedAck]).toEqual([
    "ENOENT",
    2,
    "replace tables",
    details,
  ]);
  expect(error.message).toBe(
    "replace tables: ENOENT (no such thing, attribute at byte 36, attribute 3 is missing)",
  );
  expect(new NetlinkError("x", 524).message).toBe("x: errno 524");
});
