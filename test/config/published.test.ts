import { globSync, readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { loadConfig } from "../../enforcer/config/config.ts";
import { publishedFiles } from "./publish.ts";
import { loadPolicy } from "../../enforcer/config/policy-source.ts";
import { reasons } from "../../enforcer/reason.ts";

const root = new URL("../../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), "utf8");

describe("published files", () => {
  it("are what the source makes (else run publish.ts)", async () => {
    for (const [path, content] of await publishedFiles()) expect(read(path), path).toBe(content);
  });

  it("list every reason", () => {
    const listed = [...read("enforcer/REASONS.md").matchAll(/^\| `([a-z-]+)` +\|/gm)].map(
      (match) => match[1],
    );
    expect(listed).toEqual(reasons);
  });

  it("list no reason that nothing gives", () => {
    const files = globSync("{enforcer,plugin}/**/*.ts", { cwd: root, exclude: ["enforcer/reason.ts"] });
    const source = files.map(read).join("\n");
    // refusal.ts gives these for tokens and certificates alike.
    const isMade = (reason: string): boolean =>
      source.includes(`"${reason}"`) ||
      source.includes(`\`${reason.replace(/^(token|certificate)/, "${what}")}\``);
    expect(reasons.filter((reason) => !isMade(reason))).toEqual([]);
  });
});

describe("schemas", () => {
  const compile = (path: string) => new Ajv2020({ strict: false }).compile(JSON.parse(read(path)) as object);
  const policy = compile("enforcer/policy/policy.schema.json");
  const config = compile("enforcer/config/enforcer.schema.json");
  const rule = (text: string): unknown =>
    parse(`version: 1\npolicies: [{ name: p, subject: {}, ingress: [{ ${text} }] }]`);

  it("accept the examples", () => {
    expect([policy(parse(read("install/examples/policy.yaml"))), policy.errors]).toEqual([true, null]);
    expect([config(parse(read("install/examples/enforcer.yaml"))), config.errors]).toEqual([true, null]);
  });

  it.each([
    "from: []",
    "to: [{}]",
    "action: observe, from: [{}]",
    "from: [{}], ports: [{ port: 0 }]",
    "from: [{}], ports: [{ protocol: tcp }]",
    "from: [{ matchExpressions: [{ key: a, operator: In, value: x }] }]",
    "from: [{ matchExpressions: [{ key: a, operator: Exists, value: x }] }]",
    "from: [{ ipBlock: { cidr: 10.0.0.0/8 }, matchLabels: {} }]",
    "from: [{ podSelector: {} }]",
  ])("refuse a rule with %s", (text) => {
    expect(policy(rule(text))).toBe(false);
  });

  it("accept the same rule done right", () => {
    expect(policy(rule("name: r, from: [{ sameAs: ['@ns'] }], ports: [{ protocol: TCP, port: 1 }]"))).toBe(
      true,
    );
  });
});

describe("examples", () => {
  it("are valid", () => {
    const path = new URL("install/examples/policy.yaml", root).pathname;
    expect(loadPolicy(path)).toMatchObject({ ok: true });
    expect(loadConfig(read("install/examples/enforcer.yaml"), {}, "host", "enforcer.yaml")).toMatchObject({
      ok: true,
    });
  });
});

describe("the configuration's README", () => {
  const readme = read("enforcer/config/README.md");
  const result = loadConfig(
    "version: 1\nmode: pki\ntrustDomain: t\nnetworks: { pods: [10.0.0.0/8] }\n",
    {},
    "host",
    "e.yaml",
  );
  const limits = result.ok
    ? Object.entries(result.config.limits).map(([name, value]) => `${name} ${value}`)
    : [];

  it("states every limit with its default", () => {
    const table = readme.slice(readme.search(/^\| limit /m));
    const stated = [...table.matchAll(/^\| `(\w+)` +\| (\d+) +\|/gm)].map(
      ([, name, value]) => `${name ?? ""} ${value ?? ""}`,
    );
    expect(stated).toEqual(limits);
  });

  it("states every key", () => {
    const keys = result.ok ? Object.keys(result.config) : [];
    const table = readme.slice(readme.search(/^\| key /m), readme.search(/^\| limit /m));
    const stated = new Set([...table.matchAll(/^\| `(\w+)/gm)].map((match) => match[1]));
    expect([...stated].sort()).toEqual(keys.sort());
  });
});
