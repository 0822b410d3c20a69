/** What comes back from the kernel: the model again, or a reason; never an exception, never a shorter table. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Attributes, MessageWriter } from "../../netlink/cursor.ts";
import { decodeMessages, type Message } from "../../netlink/message.ts";
import { match, action, rule } from "../../netlink/nftables/builder.ts";
import {
  assembleSet,
  decodeChain,
  decodeElements,
  decodeRule,
  decodeSet,
  decodeTable,
  type SetsByName,
} from "../../netlink/nftables/decode.ts";
import { BatchEncoder, encodeExpression, type QueueForm } from "../../netlink/nftables/encode.ts";
import { formatRule } from "../../netlink/nftables/format.ts";
import type { Expression, Rule, Table } from "../../netlink/nftables/model.ts";
import { parsePrefix } from "../../netlink/prefix.ts";
import { referenceInet, referenceNetdev } from "./reference-tables.ts";

const noSets: SetsByName = new Map();

function batch(tables: readonly Table[], form: QueueForm): Message[] {
  const writer = new MessageWriter();
  let sequence = 0;
  const encoder = new BatchEncoder(writer, () => ++sequence, form);
  encoder.begin();
  for (const table of tables) encoder.replace(table);
  encoder.end();
  const decoded = decodeMessages(writer.written());
  return decoded.ok ? decoded.value : [];
}

/** The decoders by the type of message that each understands. */
const decoders: Readonly<Record<number, (payload: Uint8Array) => { ok: boolean }>> = {
  0xa00: decodeTable,
  0xa03: decodeChain,
  0xa06: (payload) => decodeRule(payload, noSets),
  0xa09: decodeSet,
  0xa0c: decodeElements,
};

const messages = batch([referenceInet, referenceNetdev], "compat").filter(({ type }) => type in decoders);
const decode = ({ type }: Message, payload: Uint8Array): { ok: boolean } =>
  decoders[type]?.(payload) ?? { ok: false };

test("every strict prefix of a rule is refused", () => {
  for (const message of messages.filter(({ type }) => type === 0xa06)) {
    expect(decode(message, message.payload).ok).toBe(true);
    for (let length = 0; length < message.payload.length; length++) {
      expect(decode(message, message.payload.subarray(0, length)).ok).toBe(false);
    }
  }
});

test("every strict prefix of any message is refused or ends with an attribute", () => {
  for (const message of messages) {
    const clean = attributeEnds(message.payload);
    for (let length = 0; length < message.payload.length; length++) {
      if (decode(message, message.payload.subarray(0, length)).ok) expect(clean).toContain(length);
    }
  }
});

/** Every length at which nfgenmsg and some whole attributes, the last perhaps without padding, have been read. */
function attributeEnds(payload: Uint8Array): number[] {
  return Array.from(payload, (_, length) => length).filter((length) => {
    try {
      return new Attributes(payload.subarray(4, length)).types().length > 0;
    } catch {
      return false;
    }
  });
}

test("any byte changed to any other is decoded or refused", () => {
  fc.assert(
    fc.property(fc.nat(messages.length - 1), fc.nat(), fc.nat(255), (which, where, value) => {
      const message = messages[which];
      if (message === undefined) return;
      const changed = message.payload.with(where % message.payload.length, value);
      expect(typeof decode(message, changed).ok).toBe("boolean");
    }),
    { numRuns: 5000 },
  );
});

/** One expression, written and read. */
function roundTrip(expression: Expression, form: QueueForm): Expression | undefined {
  const writer = new MessageWriter();
  writer.nfgen(1, 0);
  writer.string(1, "t");
  writer.string(2, "c");
  writer.nest(4, () => encodeExpression(writer, expression, 0, form));
  const decoded = decodeRule(writer.written(), noSets);
  return decoded.ok ? decoded.value.expressions[0] : undefined;
}

const data = fc.uint8Array({ minLength: 1, maxLength: 16 });
const u16 = fc.nat(0xffff);
const expressions: fc.Arbitrary<Expression> = fc.oneof(
  fc.record({
    kind: fc.constant("compare"),
    operator: fc.constantFrom("==", "!=", "<", "<=", ">", ">="),
    data,
  }),
  fc.record({ kind: fc.constant("immediate"), data }),
  data.map((mask) => ({ kind: "bitwise", mask, xor: mask.map((byte) => ~byte) })),
  fc.record({
    kind: fc.constant("payloadLoad"),
    base: fc.constantFrom("link", "network", "transport"),
    offset: fc.nat(255),
    length: fc.integer({ min: 1, max: 16 }),
  }),
  fc.record({
    kind: fc.constant("queue"),
    number: u16,
    total: u16,
    bypass: fc.boolean(),
    fanout: fc.boolean(),
  }),
  fc.record({
    kind: fc.constantFrom("metaLoad", "metaSet"),
    key: fc.constantFrom("mark", "iifname", "l4proto"),
  }),
  fc.record({ kind: fc.constantFrom("ctLoad", "ctSet"), key: fc.constantFrom("mark", "state") }),
  fc.record({
    kind: fc.constant("verdict"),
    verdict: fc.constantFrom("accept", "drop", "return", "continue"),
  }),
  fc.record({
    kind: fc.constant("verdict"),
    verdict: fc.constantFrom("jump", "goto"),
    chain: fc.stringMatching(/^[a-z_]{1,20}$/),
  }),
) as fc.Arbitrary<Expression>;

test("every expression is read as it was written, native or compat", () => {
  fc.assert(
    fc.property(expressions, fc.constantFrom<QueueForm>("native", "compat"), (expression, form) => {
      expect(roundTrip(expression, form)).toEqual(expression);
    }),
  );
});

/** One raw expression in a rule. */
function decodeRaw(name: string, write: (writer: MessageWriter) => void): Expression | undefined {
  const writer = new MessageWriter();
  writer.nfgen(1, 0);
  writer.string(1, "t");
  writer.string(2, "c");
  writer.nest(4, () =>
    writer.nest(1, () => {
      writer.string(1, name);
      writer.nest(2, () => write(writer));
    }),
  );
  const decoded = decodeRule(writer.written(), noSets);
  return decoded.ok ? decoded.value.expressions[0] : undefined;
}

type Write = (writer: MessageWriter) => void;
const u32 =
  (type: number, number: number): Write =>
  (writer) =>
    writer.u32be(type, number);
const u16be =
  (type: number, number: number): Write =>
  (writer) =>
    writer.u16be(type, number);
const text =
  (type: number, string: string): Write =>
  (writer) =>
    writer.string(type, string);
const zeros =
  (type: number, length: number): Write =>
  (writer) =>
    writer.bytes(type, new Uint8Array(length));
const value =
  (type: number): Write =>
  (writer) =>
    writer.nest(type, () => writer.bytes(1, new Uint8Array(4)));

test.each<[string, string, readonly Write[]]>([
  ["an expression nobody knows", "xfrm", []],
  ["another register", "meta", [u32(2, 3), u32(1, 2)]],
  ["an unknown key", "meta", [u32(2, 999), u32(1, 1)]],
  ["a direction", "ct", [u32(2, 3), u32(1, 1), zeros(3, 1)]],
  ["a payload that is written", "payload", [u32(5, 1), u32(2, 1), u32(3, 0), u32(4, 1)]],
  ["a shift", "bitwise", [u32(1, 1), u32(2, 1), u32(3, 4), u32(6, 1), value(7)]],
  ["bitwise into another register", "bitwise", [u32(1, 1), u32(2, 2), u32(3, 4), value(4), value(5)]],
  ["a comparison of another register", "cmp", [u32(1, 2), u32(2, 0), value(3)]],
  ["a set that isn't one of ours", "lookup", [text(1, "named"), u32(2, 1)]],
  ["a queue by register", "queue", [u32(4, 1)]],
  ["a queue with flags of the future", "queue", [u16be(1, 1), u16be(2, 1), u16be(3, 4)]],
  ["another target", "target", [text(1, "MARK"), u32(2, 3), zeros(3, 8)]],
  ["another revision", "target", [text(1, "NFQUEUE"), u32(2, 2), zeros(3, 8)]],
  ["a target of another size", "target", [text(1, "NFQUEUE"), u32(2, 3), zeros(3, 4)]],
])("%s is unknown, and equals nothing", (_, name, write) => {
  const found = decodeRaw(name, (writer) => {
    for (const each of write) each(writer);
  });
  expect(found).toMatchObject({ kind: "unknown", name });
  expect(() => encodeExpression(new MessageWriter(), found ?? { kind: "counter" }, 0, "native")).toThrow(
    RangeError,
  );
});

test("a set's elements must have its key's length, and pair up", () => {
  const found = {
    family: "inet",
    table: "t",
    name: "s",
    anonymous: true,
    interval: false,
    keyType: "other",
    keyLength: 4,
  } as const;
  const key = Uint8Array.of(1, 2, 3, 4);
  expect(assembleSet(found, [{ key, end: false }])).toEqual({
    keyType: "other",
    keyLength: 4,
    ranges: [{ from: key, to: key }],
  });
  expect(assembleSet(found, [{ key: key.slice(1), end: false }])).toBeUndefined();
  expect(assembleSet({ ...found, interval: true }, [{ key, end: true }])).toBeUndefined();
});

test("dependencies are written once, and prefixes lose their host bits", () => {
  const prefix = parsePrefix("fe80::1234/10") ?? { address: new Uint8Array(16), length: 0 };
  const written: Rule = rule(match.ip6HopLimit(1), match.ip6Source([prefix]), action.accept());
  expect(formatRule(written)).toBe(
    [
      "[ meta load nfproto => reg 1 ] [ cmp eq reg 1 0x0000000a ]",
      "[ payload load 1b @ network header + 7 => reg 1 ] [ cmp eq reg 1 0x00000001 ]",
      "[ payload load 16b @ network header + 8 => reg 1 ]",
      "[ lookup reg 1 set ipv6_addr { fe800000000000000000000000000000-febfffffffffffffffffffffffffffff } ]",
      "[ immediate reg 0 accept ]",
    ].join(" "),
  );
});

test.each(["", "a-name-that-has-16"])("%j is no interface name", (name) => {
  expect(() => match.inputInterface(name)).toThrow(RangeError);
});
