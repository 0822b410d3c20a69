/** A call's bytes: what a launcher sends is read as it was meant, and nothing else is taken for a call. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { decodeCall, encodeOutcome } from "../../enforcer/control/handover.ts";

/** As launcher.c lays it out, less the length. */
function encode(environment: string, input: Buffer, netnsInode = 9n): Buffer {
  const variables = Buffer.from(environment);
  const header = Buffer.alloc(44);
  header.writeUInt32LE(3, 0);
  [4n, 7n, 4n, netnsInode].forEach((value, index) => header.writeBigUInt64LE(value, 4 + 8 * index));
  header.writeUInt32LE(variables.length, 36);
  return Buffer.concat([header, variables, input]);
}

const environment = "CNI_COMMAND=ADD\0CNI_ARGS=a=b;c\0CNI_COMMAND=DEL\0";

it("reads a call", () => {
  expect(decodeCall(encode(environment, Buffer.from("{}")))).toEqual({
    environment: { CNI_COMMAND: "ADD", CNI_ARGS: "a=b;c" },
    input: Buffer.from("{}"),
    elapsedMs: 3,
    own: { device: 4n, inode: 7n },
    named: { device: 4n, inode: 9n },
  });
  expect(decodeCall(encode("", Buffer.alloc(0), 0n))).toMatchObject({ environment: {}, named: undefined });
});

it("refuses what is cut short before the input begins", () => {
  const whole = encode(environment, Buffer.alloc(0));
  for (let length = 0; length < whole.length; length += 1)
    expect(decodeCall(whole.subarray(0, length))).toBe(undefined);
});

it("never throws", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void decodeCall(Buffer.from(bytes))));
});

it("writes an outcome with its length", () => {
  expect(encodeOutcome({ stdout: "ä", exitCode: 1 })).toEqual(Buffer.from("040000000101c3a4", "hex"));
  expect(encodeOutcome("declined")).toEqual(Buffer.from("020000000000", "hex"));
});
