import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { registerPolicyCommands } from "../../enforcer/cli/policy.ts";

const example = new URL("../../install/examples/policy.yaml", import.meta.url).pathname;

let folder = "";
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), "policy-command-"))));
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs `trireme …` in memory. */
function run(...words: string[]): { code: number | undefined; out: string; err: string } {
  const result: { code: number | undefined; out: string; err: string } = {
    code: undefined,
    out: "",
    err: "",
  };
  const program = new Command("trireme");
  registerPolicyCommands(program, {
    stdout: (text) => (result.out += text),
    stderr: (text) => (result.err += text),
    setExitCode: (code) => (result.code = code),
  });
  program.parse(words, { from: "user" });
  return result;
}

function fileOf(text: string): string {
  const path = join(folder, "policy.yaml");
  writeFileSync(path, text);
  return path;
}

describe("policy check", () => {
  it("says that a file is valid", () => {
    expect(run("policy", "check", example)).toEqual({
      code: 0,
      out: `${example}: valid; policies: 6, rules: 9\n`,
      err: "",
    });
  });

  it("prints every problem, one a line", () => {
    const path = fileOf("version: 2\npolicies: []\nmore: 1\n");
    const { code, out, err } = run("policy", "check", path);
    expect([code, out, err.split("\n").map((line) => line.split(":")[1])]).toEqual([
      1,
      "",
      ["1", "3", undefined],
    ]);
  });

  it("prints JSON", () => {
    const path = fileOf("version: 2\npolicies: []\n");
    const { code, out } = run("policy", "check", path, "--json");
    expect([code, JSON.parse(out)]).toEqual([
      1,
      {
        version: 1,
        valid: false,
        problems: [
          {
            file: path,
            line: 1,
            column: 10,
            subject: "version",
            message: "this is no version that we know",
            remedy: "write version: 1",
          },
        ],
      },
    ]);
    expect(JSON.parse(run("policy", "check", example, "--json").out)).toEqual({
      version: 1,
      valid: true,
      policies: 6,
      rules: 9,
      problems: [],
    });
  });

  it("refuses a file that isn't there", () => {
    expect(run("policy", "check", "/nonexistent").code).toBe(1);
  });
});

describe("policy test", () => {
  const egress = (verdict: string, reason: string, rule: string | null) => ({
    end: "egress",
    verdict,
    reason,
    rule,
  });
  const ingress = (verdict: string, reason: string, rule: string | null) => ({
    end: "ingress",
    verdict,
    reason,
    rule,
  });
  const cases: [string, string, number, object][] = [
    [
      "app=web,@ns=a",
      "app=api,@ns=a:8080",
      0,
      {
        verdict: "allow",
        reason: "rule-allow",
        rules: [egress("allow", "rule-allow", "web/to-api"), ingress("allow", "rule-allow", "api/from-web")],
      },
    ],
    [
      "app=web,@ns=a",
      "app=api,@ns=b:8080",
      3,
      {
        verdict: "deny",
        reason: "no-rule",
        rules: [egress("deny", "no-rule", null), ingress("deny", "no-rule", null)],
      },
    ],
    [
      "app=web,@ns=a",
      "app=api,@ns=a:8081/tcp",
      3,
      {
        verdict: "deny",
        reason: "no-rule",
        rules: [egress("deny", "no-rule", null), ingress("deny", "no-rule", null)],
      },
    ],
    [
      "app=api,@ns=a,quarantine=1",
      "app=db,@ns=a:5432",
      3,
      {
        verdict: "deny",
        reason: "rule-deny",
        rules: [
          egress("allow", "rule-allow", "api/to-db"),
          ingress("deny", "rule-deny", "db/no-quarantined"),
        ],
      },
    ],
    [
      "app=web",
      "10.96.0.10:53/udp",
      0,
      { verdict: "allow", reason: "address-allow", rules: [egress("allow", "address-allow", "dns/resolve")] },
    ],
    [
      "app=web",
      "10.96.0.11:53/udp",
      3,
      { verdict: "deny", reason: "no-address-rule", rules: [egress("deny", "no-address-rule", null)] },
    ],
    [
      "app=web",
      "[fd00::10]:53/udp",
      3,
      { verdict: "deny", reason: "no-address-rule", rules: [egress("deny", "no-address-rule", null)] },
    ],
    [
      "app=web",
      "10.96.0.10/icmp",
      3,
      { verdict: "deny", reason: "no-address-rule", rules: [egress("deny", "no-address-rule", null)] },
    ],
    [
      "fd00::9",
      "app=web:8443",
      0,
      {
        verdict: "allow",
        reason: "address-allow",
        rules: [ingress("allow", "address-allow", "web/from-anywhere")],
      },
    ],
  ];
  it.each(cases)("%s to %s exits with %d", (from, to, code, document) => {
    const result = run("policy", "test", example, from, to, "--json");
    expect([result.code, JSON.parse(result.out)]).toEqual([code, { version: 1, ...document }]);
    expect(run("policy", "test", example, from, to).code).toBe(code);
  });

  it.each([
    ["app=web", "app=api"],
    ["app=web", "app=api:0"],
    ["app=web", "app=api:65536"],
    ["app=web", "app=api:80/quic"],
    ["app=web", "app=api:53/udp"],
    ["app=web", "10.0.0.1:8/icmp"],
    ["app=web", "fd00::10:53/udp"],
    ["app=web", "api:80"],
    ["web", "app=api:80"],
    ["10.0.0.1", "10.0.0.2:80"],
    ["app=web,", "app=api:80"],
    ["10.0.0.01", "app=api:80"],
  ])("%s to %s is a mistake of usage", (from, to) => {
    const { code, out, err } = run("policy", "test", example, from, to);
    expect([code, out]).toEqual([2, ""]);
    expect(err).toMatch(/^[^\n]+\n$/);
  });

  it("refuses an invalid file", () => {
    expect(run("policy", "test", fileOf("version: 2\n"), "app=web", "app=api:80").code).toBe(1);
  });

  it("explains", () => {
    expect(run("policy", "test", example, "app=web,@ns=a", "app=db,@ns=a:5432", "--explain").out).toBe(
      `deny: @ns=a,app=web -> @ns=a,app=db:5432/tcp (no-rule)
  egress: deny (no-rule)
    dns/resolve: does not match: the peer has an identity
    probes: no rule in this direction
    api-server: not for this unit: the unit lacks uses-api-server=true
    web/to-api: does not match: the peer lacks app=api
    api: not for this unit: the unit lacks app=api
    db: not for this unit: the unit lacks app=db
  ingress: deny (no-rule)
    dns: no rule in this direction
    probes/from-node: does not match: the peer has an identity
    api-server: not for this unit: the unit lacks uses-api-server=true
    web: not for this unit: the unit lacks app=web
    api: not for this unit: the unit lacks app=api
    db/from-api: does not match: the peer lacks app=api
    db/no-quarantined: does not match: the peer lacks quarantine Exists
`,
    );
  });
});

describe("JSON schemas", () => {
  const accepts = (name: string, text: string): [boolean, unknown] => {
    const path = new URL(`../../enforcer/cli/schemas/${name}.schema.json`, import.meta.url);
    const validate = new Ajv2020({ strict: false }).compile(JSON.parse(readFileSync(path, "utf8")) as object);
    return [validate(JSON.parse(text)), validate.errors];
  };

  it("accept what the commands print", () => {
    const outputs: [string, string][] = [
      ["policy-check", run("policy", "check", example, "--json").out],
      ["policy-check", run("policy", "check", "/nonexistent", "--json").out],
      ["policy-test", run("policy", "test", example, "app=web", "app=api:80", "--json", "--explain").out],
      ["policy-test", run("policy", "test", example, "app=web", "10.96.0.10:53/udp", "--json").out],
    ];
    expect(outputs.map(([name, text]) => accepts(name, text))).toEqual(outputs.map(() => [true, null]));
  });

  it("refuse anything more", () => {
    expect(
      accepts("policy-test", '{"version":1,"verdict":"allow","reason":"rule-allow","rules":[]}')[0],
    ).toBe(false);
    expect(accepts("policy-check", '{"version":1,"valid":true,"problems":[],"more":1}')[0]).toBe(false);
  });
});
