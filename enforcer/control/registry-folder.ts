/**
 * Owns the registry on disk: one file for each PU in a folder of root's own, written so that a power cut at any point
 * leaves the old content or the new one; and a copy of it, for when a file is damaged nevertheless.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { errorText, OperationError } from "../operation-error.ts";
import type { Decoded } from "./messages.ts";
import { decodeRecord, encodeRecord, MAX_RECORD_BYTES, type PuRecord } from "./pu-record.ts";

/** What one file of the folder held. */
export type LoadedRecord =
  /** `damage`: what was wrong with the file, whose copy this is. */
  | { readonly ok: true; readonly record: PuRecord; readonly damage?: string }
  | { readonly ok: false; readonly file: string; readonly problem: string };

/** Elsewhere than in this thread, which goes on meanwhile. */
const fsyncElsewhere = promisify(fsync);

const RECORD_NAME = /^[0-9a-f]{16}\.json$/;
const UNFINISHED_NAME = /^\.[0-9a-f]{16}\.(json|copy)\.new$/;

export class RegistryFolder {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Makes the folder (0700) where it is missing. Throws `OperationError` if it is a link, or not ours alone. */
  static open(path: string): RegistryFolder {
    try {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      checkFolder(path);
    } catch (error) {
      if (error instanceof OperationError) throw error;
      throw new OperationError(
        "io",
        "open registry",
        `cannot use folder ${path}: ${errorText(error)}`,
        error,
      );
    }
    return new RegistryFolder(path);
  }

  /** Reads every record; what can't be used comes back as a problem. Files that a crash left unfinished are removed. */
  load(): LoadedRecord[] {
    const names = readdirSync(this.path).sort();
    for (const name of names.filter((name) => UNFINISHED_NAME.test(name))) unlinkSync(join(this.path, name));
    return names.filter((name) => RECORD_NAME.test(name)).map((name) => this.#read(join(this.path, name)));
  }

  #read(file: string): LoadedRecord {
    try {
      const record = readRecord(file);
      if (record.ok) return { ok: true, record: record.value };
      const damage = record.error.message;
      const copy = readCopy(file);
      return copy === undefined ? { ok: false, file, problem: damage } : { ok: true, record: copy, damage };
    } catch (error) {
      return { ok: false, file, problem: errorText(error) };
    }
  }

  /**
   * Writes a record and its copy, durably, in place of the PU's older ones; one write of a PU at a time. Rejects with
   * `OperationError`; then the older ones are still there, unless it is the disk that failed between two renames. What was
   * written of the new ones is gone: on a full disk it would take the place that others need.
   */
  async write(record: PuRecord): Promise<void> {
    const files = ["json", "copy"].map((kind) => ({
      file: join(this.path, `${record.id}.${kind}`),
      unfinished: join(this.path, `.${record.id}.${kind}.new`),
    }));
    try {
      const text = encodeRecord(record);
      const writes = await Promise.allSettled(files.map(({ unfinished }) => writeDurably(unfinished, text)));
      for (const write of writes) if (write.status === "rejected") throw write.reason;
      for (const { file, unfinished } of files) renameSync(unfinished, file);
      this.#sync();
    } catch (error) {
      for (const { unfinished } of files) removeQuietly(unfinished);
      const message = `cannot write the record of PU ${record.id} in ${this.path}: ${errorText(error)}`;
      throw new OperationError("io", "write registry", message, error);
    }
  }

  /** Removes a PU's record, whatever it holds; done as well when there is none. Throws `OperationError`. */
  remove(id: string): void {
    for (const kind of ["json", "copy"]) {
      const file = join(this.path, `${id}.${kind}`);
      try {
        unlinkSync(file);
        this.#sync();
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
        throw new OperationError("io", "write registry", `cannot remove ${file}: ${errorText(error)}`, error);
      }
    }
  }

  #sync(): void {
    const fd = openSync(this.path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
}

function checkFolder(path: string): void {
  const stat = lstatSync(path);
  const refuse = (what: string): never => {
    throw new OperationError("state-invalid", "open registry", `folder ${path} ${what}`);
  };
  if (!stat.isDirectory()) refuse("is not a folder (links are refused)");
  if (stat.uid !== process.getuid?.()) refuse(`belongs to user ${stat.uid}; make it root's own`);
  if ((stat.mode & 0o077) !== 0) refuse("is open to others; run chmod 0700 on it");
}

/** What the copy of a record's file holds; undefined where it can't be used, either. */
function readCopy(file: string): PuRecord | undefined {
  try {
    const copy = readRecord(file.replace(/json$/, "copy"));
    return copy.ok ? copy.value : undefined;
  } catch {
    return undefined;
  }
}

/** The record in a file that must be ours; what is wrong with its content is a value, anything else throws. */
function readRecord(file: string): Decoded<PuRecord> {
  const decoded = decodeRecord(readOwnFile(file));
  if (!decoded.ok || decoded.value.id === basename(file).slice(0, 16)) return decoded;
  return { ok: false, error: { code: 100, message: "another PU's record" } };
}

/** The text of a regular file of ours that only we can write; anything else throws. */
function readOwnFile(file: string): string {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new Error("not a regular file");
    if (stat.uid !== process.getuid?.()) throw new Error(`belongs to user ${stat.uid}`);
    if ((stat.mode & 0o022) !== 0) throw new Error("writable for others");
    if (stat.size > MAX_RECORD_BYTES) throw new Error(`longer than ${MAX_RECORD_BYTES} bytes`);
    const buffer = Buffer.alloc(stat.size);
    return buffer.toString("utf8", 0, readSync(fd, buffer));
  } finally {
    closeSync(fd);
  }
}

async function writeDurably(file: string, text: string): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
  const fd = openSync(file, flags, 0o600);
  try {
    const bytes = Buffer.from(text);
    for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
    await fsyncElsewhere(fd);
  } finally {
    closeSync(fd);
  }
}

/** What can't be removed is removed by the next `load`. */
function removeQuietly(file: string): void {
  try {
    unlinkSync(file);
  } catch {
    // It may never have been made.
  }
}
