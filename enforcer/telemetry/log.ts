/** Owns the daemon's log: levels, the text and JSON forms of a line, and a bound on how often one message is written. */
import type { Log, LogFields } from "../log.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFormat = "text" | "json";

const severity: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Lines of one message a second, before the rest is only counted. */
const LINES_PER_SECOND = 20;
/** Distinct messages counted at once; messages are constants, so this is only reached by a defect. */
const MESSAGES_COUNTED = 1024;
const WINDOW_MS = 1000;

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Takes one whole line, newline included. */
  readonly write: (line: string) => void;
  /** Wall clock, in milliseconds. */
  readonly now?: () => number;
  readonly linesPerSecond?: number;
}

interface Window {
  startedAtMs: number;
  lines: number;
  suppressed: number;
}

/** Writes one line a call, unless its level is too low or its message came too often within a second. */
export class Logger implements Log {
  readonly #options: Required<LoggerOptions>;
  readonly #windows = new Map<string, Window>();
  #level: LogLevel;

  constructor(options: LoggerOptions) {
    this.#options = { now: Date.now, linesPerSecond: LINES_PER_SECOND, ...options };
    this.#level = options.level;
  }

  /** From now on. */
  setLevel(level: LogLevel): void {
    this.#level = level;
  }

  debug(message: string, fields?: LogFields): void {
    this.write("debug", message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.write("info", message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.write("warn", message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.write("error", message, fields);
  }

  /** The same with the level as a value, for lines that others wrote. */
  write(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (severity[level] < severity[this.#level]) return;
    const nowMs = this.#options.now();
    const window = this.#windowOf(message, nowMs);
    if (window.lines >= this.#options.linesPerSecond) {
      window.suppressed += 1;
      return;
    }
    window.lines += 1;
    this.#emit(level, message, fields, nowMs);
  }

  /** Says how many lines were left out in windows that have ended. Call about once a second, and at the end. */
  flush(): void {
    const nowMs = this.#options.now();
    for (const [message, window] of this.#windows) {
      if (nowMs - window.startedAtMs < WINDOW_MS) continue;
      this.#windows.delete(message);
      this.#reportSuppressed(message, window, nowMs);
    }
  }

  #windowOf(message: string, nowMs: number): Window {
    const known = this.#windows.get(message);
    if (known !== undefined && nowMs - known.startedAtMs < WINDOW_MS && nowMs >= known.startedAtMs)
      return known;
    if (known !== undefined) this.#reportSuppressed(message, known, nowMs);
    if (this.#windows.size >= MESSAGES_COUNTED) this.#windows.clear();
    const fresh = { startedAtMs: nowMs, lines: 0, suppressed: 0 };
    this.#windows.set(message, fresh);
    return fresh;
  }

  #reportSuppressed(message: string, window: Window, nowMs: number): void {
    if (window.suppressed === 0) return;
    this.#emit("warn", "log lines left out", { of: message, count: window.suppressed }, nowMs);
  }

  #emit(level: LogLevel, message: string, fields: LogFields, nowMs: number): void {
    const format = this.#options.format === "json" ? formatJson : formatText;
    this.#options.write(format(level, message, fields, nowMs));
  }
}

function formatJson(level: LogLevel, message: string, fields: LogFields, nowMs: number): string {
  const fixed = { time: new Date(nowMs).toISOString(), level, message };
  // Fixed names stand first, and no field takes their place.
  return `${JSON.stringify({ ...fixed, ...fields, ...fixed })}\n`;
}

/** `2026-01-02T03:04:05.678Z WARN  message key=value key="a value"` */
function formatText(level: LogLevel, message: string, fields: LogFields, nowMs: number): string {
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${bare(key)}=${bare(String(value))}`);
  return `${new Date(nowMs).toISOString()} ${level.toUpperCase().padEnd(5)} ${oneLine(message)}${pairs.join("")}\n`;
}

/** As it is where that is unambiguous, else as a JSON string: control characters never reach the terminal. */
function bare(text: string): string {
  return /^[\w.:/@+,[\]-]+$/.test(text) ? text : escapeControls(JSON.stringify(text));
}

function oneLine(text: string): string {
  return escapeControls(text.replaceAll("\n", "\\n"));
}

/** JSON leaves DEL and C1 controls as they are; a terminal may obey them. */
function escapeControls(text: string): string {
  return text.replace(
    /\p{Cc}/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
