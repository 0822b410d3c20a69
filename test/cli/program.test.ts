import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import type { CommandEnvironment } from "../../enforcer/cli/command-environment.ts";
import { runTrireme } from "../../enforcer/cli/program.ts";
import { formatStatus } from "../../enforcer/cli/status.ts";
import { formatDuration } from "../../enforcer/cli/duration.ts";
import { formatTable } from "../../enforcer/cli/text-table.ts";

let folder: string;
let stdout: string;
let stderr: string;
let exitCode: number;

async function run(...argv: string[]): Promise<number> {
  [stdout, stderr, exitCode] = ["", "", 0];
  const environment: CommandEnvironment = {
    stdin: () => Promise.resolve(Buffer.alloc(0)),
    stdout: (text) => (stdout += text),
    stderr: (text) => (stderr += text),
    setExitCode: (code) => (exitCode = code),
    nowWallMs: () => Date.UTC(2026, 0, 1),
    ask: undefined,
  };
  await runTrireme(argv, environment);
  return exitCode;
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cli-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe("exit codes", () => {
  test("0 for version and help, which name what is there", async () => {
    expect([await run("--version"), stdout]).toEqual([0, `${packageJson.version}\n`]);
    expect(await run("--help")).toBe(0);
    for (const command of ["status", "flows", "policy", "keys", "release", "enforcer"]) {
      expect(stdout).toContain(`\n  ${command}`);
    }
    expect(await run("enforcer", "--help")).toBe(0);
    for (const flag of [
      "config",
      "socket",
      "state",
      "policy",
      "keys",
      "metrics",
      "log-level",
      "log-format",
    ]) {
      expect(stdout).toContain(`--${flag} `);
    }
  });

  test.each([
    ["no such command", ["bogus"]],
    ["no such flag", ["status", "--bogus"]],
    ["a count that is none", ["flows", "--last", "many"]],
    ["a verdict that is none", ["flows", "--verdict", "maybe"]],
    ["a log level that is none", ["enforcer", "--log-level", "loud"]],
    ["a port that is none", ["flows", "--port", "http"]],
    ["release of nothing", ["release", "--yes"]],
    ["release of something that is no id", ["release", "web", "--yes"]],
    ["release with nobody to ask", ["release", "--all"]],
  ])("2 for %s", async (_, argv) => {
    expect(await run(...argv)).toBe(2);
    expect(stderr).not.toBe("");
    expect(stdout).toBe("");
  });

  test.each([["status"], ["flows"]])("4 when the enforcer of %s is unreachable", async (command) => {
    expect(await run(command, "--socket", join(folder, "e.sock"))).toBe(4);
    expect(stderr).toContain(join(folder, "e.sock"));
  });

  test("1 for a configuration that is missing or wrong, with what to write", async () => {
    expect(await run("enforcer", "--config", join(folder, "none.yaml"))).toBe(1);
    expect(stderr).toContain("none.yaml");
    const config = join(folder, "enforcer.yaml");
    writeFileSync(
      config,
      "version: 1\nmode: psk\ntrustDomain: cluster.local\nnetworks: { pods: [10.0.0.0/8] }\n",
    );
    const paths = [
      "--socket",
      join(folder, "run/e.sock"),
      "--state",
      join(folder, "state"),
      "--keys",
      join(folder, "keys"),
    ];
    expect(await run("enforcer", "--config", config, ...paths)).toBe(1);
    expect(stderr).toContain("trireme keys psk");
  });
});

test("the configuration names the socket where no flag does", async () => {
  const config = join(folder, "enforcer.yaml");
  const socket = join(folder, "other.sock");
  writeFileSync(
    config,
    `version: 1\nmode: psk\ntrustDomain: cluster.local\nnetworks: { pods: [10.0.0.0/8] }\nsocket: ${socket}\n`,
  );
  expect(await run("status", "--config", config)).toBe(4);
  expect(stderr).toContain(socket);
});

test("status reads well", () => {
  const text = formatStatus(
    {
      version: 1,
      enforcer: { version: "0.1.0", startedAt: "2026-01-01T00:00:00.000Z" },
      pus: [
        {
          id: "0123456789abcdef",
          containerId: "0123456789abcdef0123",
          network: "net",
          ifname: "eth0",
          netns: "/run/netns/a",
          addresses: ["10.1.0.2", "fd00::2"],
          attributes: { "@ns": "shop", app: "web", tier: ["a", "b"], evil: "\u001b[31m" },
          enforcedSince: "2026-01-01T00:10:00.000Z",
        },
      ],
      counters: { "no-rule": 2, "rule-allow": 10 },
      warnings: ["mend this"],
    },
    Date.UTC(2026, 0, 1, 3, 12, 5),
  );
  expect(text).toBe(
    [
      "enforcer 0.1.0, up 3 h 12 min",
      "WARNING: mend this",
      "",
      "PU                NETWORK  CONTAINER     IF    ADDRESSES         ENFORCED     ATTRIBUTES",
      "0123456789abcdef  net      0123456789ab  eth0  10.1.0.2,fd00::2  3 h 2 min    @ns=shop,app=web,tier=a,tier=b,evil=\\u{1b}[31m",
      "",
      "COUNT  REASON      MEANING",
      "10     rule-allow  An allow rule matches the peer's verified identity and no deny rule does.",
      "2      no-rule     Policies select this processing unit, but none of their rules allows this peer, protocol and port.",
      "",
    ]
      .join("\n")
      .replace("3 h 2 min    @", "3 h 2 min  @")
      .replace("ENFORCED     ATT", "ENFORCED   ATT"),
  );
});

test("tables have no trailing spaces, and durations two units", () => {
  expect(
    formatTable(
      ["A", "B"],
      [
        ["x", ""],
        ["long", "y"],
      ],
    ),
  ).toBe("A     B\nx\nlong  y\n");
  expect([0, 999, 61_000, 3_600_000, 90_061_000, -5].map(formatDuration)).toEqual([
    "0 s",
    "0 s",
    "1 min 1 s",
    "1 h",
    "1 d 1 h",
    "0 s",
  ]);
});
