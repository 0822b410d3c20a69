/**
 * Owns the text form of the control protocol: one JSON object a line, of a bounded length, and of a version that both ends
 * must share.
 */
import { Fields, malformed, quote, Refused } from "./fields.ts";
import type { ControlError } from "./messages.ts";

/** The version of this protocol. A request or answer with another one is refused, so a skewed pair fails clearly. */
export const CONTROL_VERSION = 1;

/** The longest line either side accepts, in bytes, without its newline. */
export const MAX_LINE_BYTES = 1024 * 1024;

/** Any value of the protocol as one line. JSON escapes newlines, so the line is one. */
export function encodeLine(message: object): string {
  return `${JSON.stringify(message)}\n`;
}

/** Opens a message: JSON, an object, this version. For use inside `decoding`. */
export function openEnvelope(line: string): Fields {
  const fields = Fields.of(parseJson(line), "message");
  const version = fields.raw["version"];
  if (version === CONTROL_VERSION) return fields;
  throw new Refused({
    code: 101,
    message: `control protocol version ${quote(version)} instead of ${CONTROL_VERSION}`,
    details: "plugin and enforcer are of different releases: install the same one of both",
  });
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw malformed("the line is not JSON");
  }
}

/** What `LineSplitter.push` gives: whole lines, or that one is longer than allowed (the connection is then to be cut). */
export type SplitLines =
  | { readonly ok: true; readonly lines: readonly string[] }
  | { readonly ok: false; readonly error: ControlError };

/** Cuts a byte stream into lines of at most `MAX_LINE_BYTES`; never holds more than one such line. */
export class LineSplitter {
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  /** Takes the next bytes and gives the lines that they complete, without their newlines. Invalid UTF-8 is replaced. */
  push(chunk: Buffer): SplitLines {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
      if (!this.#keep(chunk.subarray(start, end))) return tooLong;
      lines.push(this.#take());
      start = end + 1;
    }
    if (!this.#keep(chunk.subarray(start))) return tooLong;
    return { ok: true, lines };
  }

  /** Bytes held of a line that hasn't ended. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  #keep(part: Buffer): boolean {
    if (part.length === 0) return true;
    this.#pendingBytes += part.length;
    if (this.#pendingBytes > MAX_LINE_BYTES) return false;
    this.#pending.push(part);
    return true;
  }

  #take(): string {
    const line = Buffer.concat(this.#pending, this.#pendingBytes).toString("utf8");
    this.#pending = [];
    this.#pendingBytes = 0;
    return line;
  }
}

const tooLong: SplitLines = {
  ok: false,
  error: { code: 100, message: `a line is longer than ${MAX_LINE_BYTES} bytes` },
};
