import { beforeEach, describe, expect, test } from "vitest";
import { Logger, type LogFormat } from "../../enforcer/telemetry/log.ts";

let lines: string[];
let nowMs: number;

function logger(format: LogFormat, level: "debug" | "info" = "info", linesPerSecond = 20): Logger {
  return new Logger({ level, format, linesPerSecond, write: (line) => lines.push(line), now: () => nowMs });
}

beforeEach(() => {
  lines = [];
  nowMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
});

describe("a line", () => {
  test("as text", () => {
    logger("text").warn("PU let go", { pu: "0123", why: 'a "b"\nc', count: 3, left: undefined });
    expect(lines).toEqual(['2026-01-02T03:04:05.678Z WARN  PU let go pu=0123 why="a \\"b\\"\\nc" count=3\n']);
  });

  test("as text never steers a terminal", () => {
    logger("text").info("m", { evil: "\u001b[31m\u009b31m\u007f", "k\u001b": 1 });
    // eslint-disable-next-line no-control-regex -- that is what must not be there
    expect(lines.join("")).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  });

  test("as JSON, whose fixed names no field replaces", () => {
    logger("json").error("m", { time: "never", level: "none", a: 1, b: true });
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      time: "2026-01-02T03:04:05.678Z",
      level: "error",
      message: "m",
      a: 1,
      b: true,
    });
    expect(lines[0]?.endsWith("\n")).toBe(true);
  });
});

test("levels below the least one are left out, and it can be changed", () => {
  const log = logger("text");
  log.debug("no");
  log.setLevel("debug");
  log.debug("yes");
  expect(lines).toHaveLength(1);
});

test("of one message only so many a second are written; the rest is counted, and other messages pass", () => {
  const log = logger("json", "info", 3);
  for (let count = 0; count < 10; count++) log.info("often", { count });
  log.info("seldom");
  expect(lines).toHaveLength(4);
  nowMs += 1000;
  log.info("often");
  expect(lines.slice(4).map((line) => JSON.parse(line) as object)).toMatchObject([
    { level: "warn", message: "log lines left out", of: "often", count: 7 },
    { message: "often" },
  ]);
  for (let count = 0; count < 5; count++) log.info("often");
  nowMs += 1000;
  log.flush();
  expect(JSON.parse(lines.at(-1) ?? "")).toMatchObject({ of: "often", count: 3 });
});
