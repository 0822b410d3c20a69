/**
 * Owns what is remembered of a `release` that happened while no enforcer ran: one line each in the registry folder, which
 * the next enforcer takes into its log.
 */
import { appendFileSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

const FILE = "releases.log";
/** Of an over-long journal only the end is logged. */
const LINES_TAKEN = 1000;

/** Notes one release. `time` is RFC 3339. */
export function noteRelease(folder: string, puId: string, time: string): void {
  appendFileSync(join(folder, FILE), `${time} ${puId}\n`, { mode: 0o600 });
}

/** The releases noted since the last call, oldest first; they are forgotten now. */
export function takeReleases(folder: string): { time: string; puId: string }[] {
  const file = join(folder, FILE);
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return [];
  }
  rmSync(file, { force: true });
  const lines = text.split("\n").slice(-LINES_TAKEN - 1);
  return lines.flatMap((line) => {
    const [time = "", puId = ""] = line.split(" ");
    return puId === "" ? [] : [{ time, puId }];
  });
}
