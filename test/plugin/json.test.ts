/** Members' source texts: nothing of a document is lost or moved. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isObject, member, memberSource, memberSources, parseJson } from "../../plugin/json.ts";

const anyObject = fc.dictionary(fc.string(), fc.jsonValue());
const anyIndent = fc.constantFrom(0, 1, 4, "\t", "\n \r");

describe("memberSources", () => {
  it("gives every member's own text, in order", () => {
    fc.assert(
      fc.property(anyObject, anyIndent, (object, indent) => {
        const found = memberSources(JSON.stringify(object, null, indent));
        expect(found.map(({ key }) => key)).toEqual(Object.keys(object));
        expect(found.map(({ source }) => JSON.parse(source) as unknown)).toEqual(
          Object.values(JSON.parse(JSON.stringify(object)) as object),
        );
      }),
    );
  });

  it("finds the whole text again in its pairs", () => {
    fc.assert(
      fc.property(anyObject, (object) => {
        const text = JSON.stringify(object);
        expect(
          `{${memberSources(text)
            .map(({ pair }) => pair)
            .join(",")}}`,
        ).toBe(text);
      }),
    );
  });

  it.each([
    ['{"a":12345678901234567890}', "a", "12345678901234567890"],
    ['{"a" : -0.0e1 }', "a", "-0.0e1"],
    ['{"a":1,"a":2}', "a", "2"],
    ['{"a":"\\"}{\\\\"}', "a", '"\\"}{\\\\"'],
    ['{"\\u0061":null}', "a", "null"],
    ['{"a":[{"b":"]"},[]],"c":0}', "a", '[{"b":"]"},[]]'],
    [" {\n} ", "a", undefined],
    ['{"__proto__":{"a":1}}', "a", undefined],
    ['{"__proto__":{"a":1}}', "__proto__", '{"a":1}'],
  ])("in %s, %s is %s", (text, key, source) => {
    expect(memberSource(text, key)).toBe(source);
  });

  it("needs no stack for depth", () => {
    const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    expect(memberSource(`{"a":${deep},"b":7}`, "a")).toBe(deep);
    expect(parseJson(deep).ok).toBe(true);
  });
});

describe("member", () => {
  it.each(["constructor", "toString", "hasOwnProperty", "__proto__"])("does not inherit %s", (key) => {
    const parsed = parseJson("{}");
    expect(parsed.ok && isObject(parsed.value) && member(parsed.value, key)).toBe(undefined);
  });
});

describe("parseJson", () => {
  it.each([
    ["", undefined],
    ['{"secret": "abc" x}', 17],
    ["nonsense", undefined],
  ])("says where %j ends to be JSON, and nothing of its content", (text, position) => {
    expect(parseJson(text)).toEqual({ ok: false, position });
  });
});
