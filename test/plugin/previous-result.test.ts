/** The result's text is prevResult's, whatever it holds. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { resultText } from "../../plugin/previous-result.ts";

const others = fc.dictionary(
  fc.string().filter((key) => key !== "cniVersion"),
  fc.jsonValue(),
);

describe("resultText", () => {
  it("is the very text where the version is the configuration's", () => {
    fc.assert(
      fc.property(others, fc.constantFrom(0, 2), (members, indent) => {
        const source = JSON.stringify({ ...members, cniVersion: "1.1.0" }, null, indent);
        expect(resultText(source, "1.1.0")).toBe(`${source}\n`);
      }),
    );
  });

  it("has the configuration's version otherwise, and every other member's text", () => {
    fc.assert(
      fc.property(others, fc.constantFrom({}, { cniVersion: "1.0.0" }), (members, version) => {
        const text = resultText(JSON.stringify({ ...members, ...version }), "1.1.0");
        expect(JSON.parse(text)).toEqual({
          ...(JSON.parse(JSON.stringify(members)) as object),
          cniVersion: "1.1.0",
        });
      }),
    );
  });

  it.each([
    ["{}", '{"cniVersion":"1.1.0"}\n'],
    ['{"n":9007199254740993}', '{"cniVersion":"1.1.0","n":9007199254740993}\n'],
    ['{"cniVersion":"1.0.0","cniVersion":"1.1.0","a":1,"a":2}', '{"cniVersion":"1.1.0","a":1,"a":2}\n'],
    ['{"cniVersion":"1.1.\\u0030"}', '{"cniVersion":"1.1.0"}\n'],
  ])("of %s is %s", (source, text) => {
    expect(resultText(source, "1.1.0")).toBe(text);
  });
});
