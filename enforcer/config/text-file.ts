/** Owns reading the files that operators write: bounded, regular files only, and what is wrong as a problem with its remedy. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { errorText } from "../operation-error.ts";
import { MAX_FILE_BYTES } from "../policy/document.ts";
import type { Problem } from "../policy/problem.ts";

/** A regular file's text, at most one byte more than is allowed, so that its reader can say that it is too large. */
export function readTextFile(path: string, remedy: string): string | Problem {
  try {
    return readBounded(path);
  } catch (error) {
    const message = `the file cannot be read: ${errorText(error)}`;
    return { file: path, line: 1, column: 1, subject: "", message, remedy };
  }
}

function readBounded(path: string): string {
  const descriptor = openSync(path, "r");
  try {
    const status = fstatSync(descriptor);
    if (!status.isFile()) throw new Error("it is not a regular file");
    const buffer = Buffer.alloc(Math.min(status.size, MAX_FILE_BYTES) + 1);
    let length = 0;
    for (let count = 1; count > 0 && length < buffer.length; length += count) {
      count = readSync(descriptor, buffer, length, buffer.length - length, null);
    }
    return buffer.toString("utf8", 0, length);
  } finally {
    closeSync(descriptor);
  }
}
