/**
 * Puts the launcher (plugin/launcher/) into a finished single binary, as the first code that runs: into the zeros at the end of the
 * executable segment, which Node's builds pad to 2 MiB. Source: elf(5), Elf64_Ehdr and Elf64_Phdr.
 */
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repository } from "./bundle.ts";

const sources = join(repository, "plugin/launcher");
/** Freestanding, and the same wherever it is put; functions of the library that the compiler would call are in it. */
const flags = [
  ..."-Os -Wall -Wextra -Werror -ffreestanding -fpie -fvisibility=hidden -fno-stack-protector".split(" "),
  ..."-fno-jump-tables -fno-tree-loop-distribute-patterns -fno-asynchronous-unwind-tables".split(" "),
  ..."-fcf-protection=none -nostdlib -static -Wl,--build-id=none -Wl,--oformat=binary".split(" "),
];
/** In the launcher: the offset of the binary's own entry, then its code. */
const codeOffset = 16;
const alignment = 16;

/** A part of a file that is mapped to be executed. */
interface Segment {
  readonly fileOffset: number;
  readonly address: bigint;
  readonly bytes: number;
}

/** Changes the ELF executable `binary` in place. Throws where it has no room: Node's builds may change. */
export function graftLauncher(binary: string): void {
  const launcher = compileLauncher();
  const fd = openSync(binary, "r+");
  try {
    const header = read(fd, 0, 64);
    const segment = executableSegments(fd, header).find((one) => isRoom(fd, one, launcher.length));
    if (segment === undefined)
      throw new Error(`${binary} has no room for the launcher (${launcher.length} bytes)`);
    const offset = roomOffset(segment, launcher.length);
    const address = segment.address + BigInt(offset);
    launcher.writeBigInt64LE(header.readBigUInt64LE(24) - address, 0);
    writeSync(fd, launcher, 0, launcher.length, segment.fileOffset + offset);
    header.writeBigUInt64LE(address + BigInt(codeOffset), 24);
    writeSync(fd, header, 0, header.length, 0);
  } finally {
    closeSync(fd);
  }
}

function compileLauncher(): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "launcher-"));
  const output = join(folder, "launcher");
  try {
    const script = `-Wl,-T,${join(sources, "launcher.ld")}`;
    execFileSync(process.env["CC"] ?? "cc", [...flags, script, "-o", output, join(sources, "launcher.c")]);
    return readFileSync(output);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function executableSegments(fd: number, header: Buffer): Segment[] {
  const isElf64 = header.toString("latin1", 0, 5) === "\x7fELF\x02";
  if (!isElf64) throw new Error("no 64-bit ELF executable");
  const [size, count] = [header.readUInt16LE(54), header.readUInt16LE(56)];
  const table = read(fd, Number(header.readBigUInt64LE(32)), size * count);
  const loadable = 1;
  const executable = 1;
  return Array.from({ length: count }, (_none, index) => table.subarray(index * size, (index + 1) * size))
    .filter((entry) => entry.readUInt32LE(0) === loadable && (entry.readUInt32LE(4) & executable) !== 0)
    .map((entry) => ({
      fileOffset: Number(entry.readBigUInt64LE(8)),
      address: entry.readBigUInt64LE(16),
      bytes: Number(entry.readBigUInt64LE(32)),
    }));
}

/** From the segment's beginning. */
function roomOffset({ bytes }: Segment, needed: number): number {
  return Math.floor((bytes - needed) / alignment) * alignment;
}

/** A page more than needed has to be zero, so that it is padding and not an array of the program's. */
function isRoom(fd: number, segment: Segment, needed: number): boolean {
  const page = 4096;
  const offset = roomOffset(segment, needed + page);
  return (
    offset >= 0 && read(fd, segment.fileOffset + offset, segment.bytes - offset).every((byte) => byte === 0)
  );
}

function read(fd: number, offset: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  if (readSync(fd, buffer, 0, length, offset) === length) return buffer;
  throw new Error("the binary is cut short");
}
