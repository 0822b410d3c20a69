import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Policy } from "../../enforcer/policy/model.ts";
import { parsePolicy } from "../../enforcer/policy/parse.ts";
import { formatProblem } from "../../enforcer/policy/problem.ts";

/** Line, subject and message of every problem. */
function problemsOf(text: string): [number, string, string][] {
  const result = parsePolicy(text, "p.yaml");
  return result.ok ? [] : result.problems.map(({ line, subject, message }) => [line, subject, message]);
}

function policyOf(text: string): Policy {
  const result = parsePolicy(text, "p.yaml");
  if (!result.ok) throw new Error(result.problems.map(formatProblem).join("\n"));
  return result.policy;
}

/** A file whose one policy `p` has one rule `r`; the rule's further lines begin at line 7. */
const withRule = (...lines: string[]): string =>
  [
    "version: 1",
    "policies:",
    "  - name: p",
    "    subject: {}",
    "    ingress:",
    "      - name: r",
    ...lines.map((line) => `        ${line}`),
    "",
  ].join("\n");

describe("a valid file", () => {
  it("becomes plain data", () => {
    const policy = policyOf(`version: 1
policies:
  - name: db
    description: the database
    subject: { matchLabels: { app: db } }
    ingress:
      - name: from-web
        from:
          - matchLabels: { app: web }
            matchExpressions:
              - { key: a, operator: "=", value: x }
              - { key: b, operator: "!=", value: x }
              - { key: c, operator: In, values: [x, y] }
              - { key: d, operator: NotIn, values: [x, y] }
              - { key: e, operator: Exists }
              - { key: f, operator: DoesNotExist }
              - { key: g, operator: Prefix, value: x }
            sameAs: ["@ns"]
        ports: [{ port: 5432 }, { protocol: TCP, port: 1, endPort: 9 }, { protocol: TCP }]
    egress:
      - action: deny
        to: [{}, { ipBlock: { cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.2.3.4] } }]
      - to: [{ ipBlock: { cidr: "fd00::1" } }]
        ports: [{ protocol: ICMPv6 }, { protocol: 47 }, { protocol: UDP, port: 53 }]
`);
    expect(structuredClone(policy)).toEqual({
      version: 1,
      policies: [
        {
          name: "db",
          subject: [{ operator: "In", key: "app", values: ["db"] }],
          ingress: [
            {
              name: "db/from-web",
              action: "allow",
              peers: [
                {
                  kind: "selector",
                  requirements: [
                    { operator: "In", key: "app", values: ["web"] },
                    { operator: "In", key: "a", values: ["x"] },
                    { operator: "NotIn", key: "b", values: ["x"] },
                    { operator: "In", key: "c", values: ["x", "y"] },
                    { operator: "NotIn", key: "d", values: ["x", "y"] },
                    { operator: "Exists", key: "e" },
                    { operator: "DoesNotExist", key: "f" },
                    { operator: "Prefix", key: "g", values: ["x"] },
                  ],
                  sameAs: ["@ns"],
                },
              ],
              ports: [
                { protocol: 6, first: 5432, last: 5432 },
                { protocol: 6, first: 1, last: 9 },
                { protocol: 6, first: 0, last: 65535 },
              ],
            },
          ],
          egress: [
            {
              name: "db/egress[0]",
              action: "deny",
              peers: [
                { kind: "selector", requirements: [], sameAs: [] },
                { kind: "address", cidr: "10.0.0.0/8", except: ["10.1.0.0/16", "10.2.3.4/32"] },
              ],
            },
            {
              name: "db/egress[1]",
              action: "allow",
              peers: [{ kind: "address", cidr: "fd00::1/128", except: [] }],
              ports: [
                { protocol: 58, first: 0, last: 65535 },
                { protocol: 47, first: 0, last: 65535 },
                { protocol: 17, first: 53, last: 53 },
              ],
            },
          ],
        },
      ],
    });
  });

  it("may be empty of policies", () => {
    expect(policyOf("version: 1\npolicies: []\n")).toEqual({ version: 1, policies: [] });
  });

  it("may use anchors and aliases", () => {
    const text =
      withRule("from: [&web { matchLabels: { app: web } }]") +
      "      - { name: again, from: [*web], ports: [{ port: 1 }] }\n";
    const peers = policyOf(text).policies[0]?.ingress.map((rule) => rule.peers);
    expect(peers?.[1]).toEqual(peers?.[0]);
  });
});

describe("a wrong file names line, rule and error", () => {
  const cases: [string, [number, string, string][]][] = [
    ["", [[1, "", "null is not valid here"]]],
    ["version: 2\npolicies: []\n", [[1, "version", "this is no version that we know"]]],
    ["version: 1\n", [[1, "policies", "it is missing"]]],
    ["version: 1\npolicies: []\npolicy: []\n", [[3, "", 'unknown key "policy"']]],
    ["version: 1\nversion: 1\npolicies: []\n", [[2, "", '"version" stands twice in this map']]],
    ["version: 1\npolicies: [\n", [[3, "", expect.stringContaining("not valid YAML") as string]]],
    [
      "version: 1\npolicies:\n  - name: a b\n    subject: {}\n",
      [[3, "policies[0] name", '"a b" is not valid here']],
    ],
    ["version: 1\npolicies:\n  - name: p\n", [[3, "p subject", "it is missing"]]],
    ["version: 1\npolicies:\n  - name: p\n    subject:\n", [[4, "p subject", "null is not valid here"]]],
    [
      "version: 1\npolicies:\n  - { name: p, subject: { podSelector: {} } }\n",
      [[3, "p subject", 'unknown key "podSelector"']],
    ],
    [
      "version: 1\npolicies:\n  - { name: p, subject: {} }\n  - { name: p, subject: {} }\n",
      [[4, "p", 'the name "p" is taken']],
    ],
    [
      withRule("action: observe", "from: [{}]"),
      [[7, "p/r action", 'action "observe" is reserved and doesn\'t exist yet']],
    ],
    [withRule("action: drop", "from: [{}]"), [[7, "p/r action", 'action "drop" is unknown']]],
    [withRule("action: allow"), [[6, "p/r from", "it is missing"]]],
    [withRule("from: []"), [[7, "p/r from", "a list is not valid here"]]],
    [withRule("from:"), [[7, "p/r from", "null is not valid here"]]],
    [
      withRule("to: [{}]"),
      [
        [6, "p/r from", "it is missing"],
        [7, "p/r", 'unknown key "to"'],
      ],
    ],
    [withRule("from: [{}]", "ports: []"), [[8, "p/r ports", "a list is not valid here"]]],
    [
      withRule("from: [{}]", "ports: [{ port: http }]"),
      [[8, "p/r ports[0].port", '"http" is not valid here']],
    ],
    [withRule("from: [{}]", "ports: [{ port: 0 }]"), [[8, "p/r ports[0].port", "0 is not valid here"]]],
    [
      withRule("from: [{}]", "ports: [{ port: 70000 }]"),
      [[8, "p/r ports[0].port", "70000 is not valid here"]],
    ],
    [
      withRule("from: [{}]", "ports: [{ port: 9, endPort: 8 }]"),
      [[8, "p/r ports[0]", "endPort is below port"]],
    ],
    [withRule("from: [{}]", "ports: [{ endPort: 8 }]"), [[8, "p/r ports[0]", "endPort stands without port"]]],
    [
      withRule("from: [{}]", "ports: [{ protocol: tcp }]"),
      [[8, "p/r ports[0].protocol", 'protocol "tcp" is unknown']],
    ],
    [
      withRule("from: [{}]", "ports: [{ protocol: 256 }]"),
      [[8, "p/r ports[0].protocol", "protocol 256 is unknown"]],
    ],
    [
      withRule("from: [{}]", "ports: [{ protocol: UDP, port: 53 }]"),
      [[8, "p/r ports[0]", "protocol UDP is not judged by identity yet"]],
    ],
    [
      withRule("from: [{ ipBlock: { cidr: 10.0.0.0/8 } }]"),
      [[6, "p/r", "an ipBlock is allowed without ports"]],
    ],
    [
      withRule("from: [{ ipBlock: { cidr: 10.0.0.0/8 } }]", "ports: [{ protocol: UDP }]"),
      [[8, "p/r ports[0]", "an ipBlock is allowed on every port"]],
    ],
    [
      withRule("from: [{ ipBlock: { cidr: 10.0.0.0/8 } }]", "ports: [{ protocol: ICMP, port: 8 }]"),
      [[8, "p/r ports[0]", "protocol ICMP has no ports"]],
    ],
    [
      withRule("action: deny", "from: [{ ipBlock: { cidr: 10.0.0.1/8 } }]"),
      [[8, "p/r from[0].ipBlock.cidr", '"10.0.0.1/8" has bits set after its prefix']],
    ],
    [
      withRule("action: deny", "from: [{ ipBlock: { cidr: 10.0.0.0/8, except: [10.0.0.0/8] } }]"),
      [[8, "p/r from[0].ipBlock.except[0]", "10.0.0.0/8 is not a part of 10.0.0.0/8"]],
    ],
    [
      withRule("action: deny", 'from: [{ ipBlock: { cidr: "::/0", except: [10.0.0.0/8] } }]'),
      [[8, "p/r from[0].ipBlock.except[0]", "10.0.0.0/8 is not a part of ::/0"]],
    ],
    [
      withRule("action: deny", "from: [{ ipBlock: { cidr: 10.0.0.0/8 }, matchLabels: {} }]"),
      [[8, "p/r from[0].ipBlock", "ipBlock stands beside a selector"]],
    ],
    [
      withRule("from: [{ matchLabels: { app: 1 } }]"),
      [[7, "p/r from[0].matchLabels.app", "1 is not valid here"]],
    ],
    [withRule("from: [{ matchLabels: { __proto__: x } }]"), [[7, "", '"__proto__" cannot be a key']]],
    [
      withRule("from: [{ matchExpressions: [{ key: a, operator: Like, value: x }] }]"),
      [[7, "p/r from[0].matchExpressions[0].operator", '"Like" is not valid here']],
    ],
    [
      withRule("from: [{ matchExpressions: [{ key: a, operator: In, value: x }] }]"),
      [[7, "p/r from[0].matchExpressions[0]", '"In" takes a list']],
    ],
    [
      withRule('from: [{ matchExpressions: [{ key: a, operator: "=", values: [x] }] }]'),
      [[7, "p/r from[0].matchExpressions[0]", '"=" takes one value']],
    ],
    [
      withRule("from: [{ matchExpressions: [{ key: a, operator: Exists, value: x }] }]"),
      [[7, "p/r from[0].matchExpressions[0]", '"Exists" takes no value']],
    ],
    [
      withRule("from: [{ matchExpressions: [{ key: a, operator: In, values: [] }] }]"),
      [[7, "p/r from[0].matchExpressions[0].values", "a list is not valid here"]],
    ],
    [
      withRule('from: [{ matchExpressions: [{ key: a, operator: Prefix, value: "" }] }]'),
      [[7, "p/r from[0].matchExpressions[0]", "every value has the empty prefix"]],
    ],
    [withRule("from: [{ sameAs: [] }]"), [[7, "p/r from[0].sameAs", "a list is not valid here"]]],
    [withRule("from: [{}]") + "      - { name: r, from: [{}] }\n", [[8, "p/r", 'the name "r" is taken']]],
  ];
  it.each(cases)("%j", (text, expected) => {
    expect(problemsOf(text)).toEqual(expected);
  });

  it("all errors of a file", () => {
    const text = `${withRule("action: observe", "from: [{}]", "ports: [{ port: 0 }]")}  - name: p
    subject: {}
    egress:
      - to: [{ ipBlock: { cidr: 10.0.0.1/8 } }]
        ports: [{ port: 1 }]
        prots: []
`;
    expect(problemsOf(text)).toEqual([
      [7, "p/r action", 'action "observe" is reserved and doesn\'t exist yet'],
      [9, "p/r ports[0].port", "0 is not valid here"],
      [13, "p/egress[0] to[0].ipBlock.cidr", '"10.0.0.1/8" has bits set after its prefix'],
      [15, "p/egress[0]", 'unknown key "prots"'],
      [10, "p", 'the name "p" is taken'],
    ]);
  });

  it("as one line for people", () => {
    const result = parsePolicy(withRule("action: observe", "from: [{}]"), "p.yaml");
    expect(result.ok ? [] : result.problems.map(formatProblem)).toEqual([
      'p.yaml:7:17: p/r action: action "observe" is reserved and doesn\'t exist yet; write allow or deny',
    ]);
  });
});

describe("bounds", () => {
  it.each([
    ["size", `#${"x".repeat(1_048_576)}`],
    ["nesting", "[".repeat(20_000)],
    [
      "aliases",
      `a: &a [x,x,x,x,x,x,x,x,x]\n${"bcdefg"
        .split("")
        .map(
          (name, index) =>
            `${name}: &${name} [${Array(9)
              .fill(`*${"abcdefg"[index] ?? ""}`)
              .join()}]`,
        )
        .join("\n")}\n`,
    ],
    [
      "many aliases of something large",
      `a: &a [${"x,".repeat(50_000)}]\n${Array.from({ length: 20 }, (_, index) => `b${index}: *a`).join("\n")}\n`,
    ],
  ])("of %s", (_, text) => {
    expect(problemsOf(text).length).toBeGreaterThan(0);
  });

  it("of the report itself", () => {
    const problems = problemsOf(`version: 1\npolicies:\n${"  - {}\n".repeat(500)}`);
    expect([problems.length, problems.at(-1)?.[2]]).toEqual([101, "there are more problems"]);
  });

  it("a map of very many keys takes no more than linear time", () => {
    const started = performance.now();
    problemsOf(Array.from({ length: 30_000 }, (_, index) => `k${index}: 1`).join("\n"));
    expect(performance.now() - started).toBeLessThan(15_000);
  });
});

it("never throws, and accepts only what compiles", () => {
  const source = withRule(
    "action: deny",
    "from: [{ matchLabels: { app: web }, sameAs: ['@ns'] }, { ipBlock: { cidr: 10.0.0.0/8 } }]",
    "ports: [{ port: 80, endPort: 90 }]",
  );
  const tokens = source.split(/(?<=[\s:[\]{},])|(?=[\s:[\]{},])/);
  const noise = fc.constantFrom(
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "!!set ",
    "!!binary ",
    "? ",
    "|\n",
    '"',
    "'",
    "{",
    "}",
    "#",
    "\t",
    "null",
    "0",
    "-1",
    "1e9",
    "[]",
    "{}",
    "__proto__",
    "constructor",
    "%YAML 1.1\n---\n",
    "\u0000",
    "\ud800",
  );
  const mutated = fc
    .array(fc.tuple(fc.nat(tokens.length), noise, fc.nat(2)), { maxLength: 4 })
    .map((edits) =>
      edits.reduce((parts, [at, text, cut]) => parts.toSpliced(at, cut, text), tokens).join(""),
    );
  let valid = 0;
  fc.assert(
    fc.property(
      fc.oneof({ weight: 3, arbitrary: mutated }, { weight: 1, arbitrary: fc.string({ unit: "binary" }) }),
      (text) => {
        const result = parsePolicy(text, "p.yaml");
        if (result.ok) valid += 1;
        else for (const problem of result.problems) expect(formatProblem(problem)).not.toMatch(/\n/);
      },
    ),
    { numRuns: 400 },
  );
  expect(valid).toBeGreaterThan(0);
});
