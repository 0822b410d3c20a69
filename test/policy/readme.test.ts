import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { attributesFromObject, parseAttributes } from "../../enforcer/policy/attributes.ts";
import { compilePolicy } from "../../enforcer/policy/evaluate.ts";
import { parsePolicy } from "../../enforcer/policy/parse.ts";

const readme = readFileSync(new URL("../../enforcer/policy/README.md", import.meta.url), "utf8");

/** One section of "Operators": the peer as YAML, and the attribute sets that it matches and doesn't. */
interface Example {
  readonly operator: string;
  readonly peer: string;
  readonly matches: string[];
  readonly others: string[];
}

const operators = readme.slice(readme.indexOf("## Operators"), readme.indexOf("## What a decision says"));
const examples = operators
  .split(/^### /m)
  .slice(1)
  .map((section): Example => {
    const quoted = (line: RegExp): string[] =>
      [...(line.exec(section)?.[1] ?? "").matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
    return {
      operator: /^`(.+)`/.exec(section)?.[1] ?? "",
      peer: /```yaml\n([^]*?)```/.exec(section)?.[1]?.trim() ?? "",
      matches: quoted(/^- matches (.*)$/m),
      others: quoted(/^- does not match (.*)$/m),
    };
  });

it("has an example of every operator", () => {
  const names = examples.map((example) => example.operator);
  expect(names).toEqual(["=", "!=", "In", "NotIn", "Exists", "DoesNotExist", "Prefix", "sameAs"]);
});

describe.each(examples)("the example of $operator", ({ peer, matches, others }) => {
  const text = `version: 1\npolicies:\n  - name: p\n    subject: {}\n    ingress:\n      - name: r\n        from:\n          - ${peer}\n`;
  const result = parsePolicy(text, "README.md");
  const compiled = compilePolicy(result.ok ? result.policy : { version: 1, policies: [] });
  const ask = (attributes: string): string => {
    const peerAttributes = parseAttributes(attributes);
    if (!(peerAttributes instanceof Map)) throw new Error(attributes);
    return compiled.evaluate(
      "ingress",
      attributesFromObject({ app: "web", "@ns": "shop" }),
      peerAttributes,
      "tcp",
      80,
    ).verdict;
  };

  it("is valid, and has both kinds of peers", () => {
    expect(result).toMatchObject({ ok: true });
    expect(Math.min(matches.length, others.length)).toBeGreaterThan(0);
  });
  it("matches what it says", () => expect(matches.map(ask)).toEqual(matches.map(() => "allow")));
  it("does not match what it says", () => expect(others.map(ask)).toEqual(others.map(() => "deny")));
});

it("the whole file that it shows is valid", () => {
  const text = /```yaml\n(version: 1[^]*?)```/.exec(readme)?.[1] ?? "";
  expect(parsePolicy(text, "README.md")).toMatchObject({ ok: true, policy: { policies: [{ name: "db" }] } });
});
