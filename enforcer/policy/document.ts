/** Owns reading a YAML file that a person wrote: bounded, strict, and with the place of every value, so that an error can name its line. */
import {
  isMap,
  isScalar,
  LineCounter,
  type Document,
  type Node,
  parseDocument,
  visit,
  isAlias,
  isSeq,
} from "yaml";
import { errorText } from "../operation-error.ts";
import type { Problem } from "./problem.ts";

/** Keys and indices from the top. */
export type Path = readonly PropertyKey[];

/** A file as plain values, and where they stand in it. */
export interface SourceDocument {
  readonly file: string;
  readonly value: unknown;
  /** Line and column, from 1, of the value at this path, or of the nearest one above it that exists. */
  locate(path: Path): { line: number; column: number };
  /** The same of a key in the map at this path. */
  locateKey(path: Path, key: string): { line: number; column: number };
}

/** No policy or configuration of any use is larger. */
export const MAX_FILE_BYTES = 1_048_576;
const MAX_ALIASES = 100;
/** Values after aliases are expanded. */
const MAX_VALUES = 300_000;
export const MAX_PROBLEMS = 100;

/** Reads one YAML document. Never throws: whatever the text, the answer is a document or its problems. */
export function readDocument(text: string, file: string): SourceDocument | readonly Problem[] {
  const whole = { file, line: 1, column: 1, subject: "" };
  if (Buffer.byteLength(text) > MAX_FILE_BYTES) {
    return [
      {
        ...whole,
        message: `the file is larger than ${MAX_FILE_BYTES} bytes`,
        remedy: "write less, or split it",
      },
    ];
  }
  try {
    return parseText(text, file);
  } catch (error) {
    const message = error instanceof RangeError ? "it is nested too deeply" : firstLine(error);
    return [
      {
        ...whole,
        message: `the file cannot be read: ${message}`,
        remedy: "write plain YAML with few aliases",
      },
    ];
  }
}

function parseText(text: string, file: string): SourceDocument | readonly Problem[] {
  const lines = new LineCounter();
  // The library's own check for repeated keys takes the square of their number.
  const options = { prettyErrors: false, stringKeys: true, uniqueKeys: false, logLevel: "error" } as const;
  const document = parseDocument(text, { ...options, lineCounter: lines });
  const place = (offset: number): { line: number; column: number } => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const faults = [...document.errors, ...document.warnings].map((fault): KeyFault => {
    return {
      offset: fault.pos[0],
      message: `not valid YAML: ${firstLine(fault)}`,
      remedy: "correct the YAML",
    };
  });
  const problems = [...faults, ...keyFaults(document)].map(({ offset, message, remedy }) => {
    return { file, ...place(offset), subject: "", message, remedy };
  });
  if (problems.length > 0) return limitProblems(problems);
  const value: unknown = document.toJS({ maxAliasCount: MAX_ALIASES });
  if (countValues(value, MAX_VALUES) > MAX_VALUES) throw new Error(`it has more than ${MAX_VALUES} values`);
  return {
    file,
    value,
    locate: (path) => place(nodeAt(document, path)?.range?.[0] ?? 0),
    locateKey: (path, key) => place(keyOffset(nodeAt(document, path), key) ?? 0),
  };
}

/** At most a hundred; the last one says that more are missing. */
export function limitProblems(problems: readonly Problem[]): readonly Problem[] {
  const last = problems[MAX_PROBLEMS];
  if (last === undefined) return problems;
  const rest = {
    ...last,
    subject: "",
    message: "there are more problems",
    remedy: "correct those above first",
  };
  return [...problems.slice(0, MAX_PROBLEMS), rest];
}

interface KeyFault {
  readonly offset: number;
  readonly message: string;
  readonly remedy: string;
}

/** Keys that stand twice in one map, and `__proto__`, which plain objects cannot hold as data. */
function keyFaults(document: Document): KeyFault[] {
  const faults: KeyFault[] = [];
  visit(document, {
    Map: (_, map) => {
      const seen = new Set<unknown>(["__proto__"]);
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        const name = key.value === "__proto__" ? "cannot be a key" : "stands twice in this map";
        const message = `${clip(JSON.stringify(key.value))} ${name}`;
        if (seen.has(key.value)) faults.push({ offset: key.range?.[0] ?? 0, message, remedy: "remove it" });
        seen.add(key.value);
      }
    },
  });
  return faults;
}

function countValues(value: unknown, limit: number): number {
  if (typeof value !== "object" || value === null) return 1;
  let count = 1;
  for (const inner of Object.values(value)) {
    count += countValues(inner, limit - count);
    if (count > limit) break;
  }
  return count;
}

/** The node at a path, or the last one on the way that exists. */
function nodeAt(document: Document, path: Path): Node | undefined {
  let node = resolve(document, document.contents);
  for (const step of path) {
    const inner = isMap(node) || isSeq(node) ? resolve(document, node.get(keyOf(step), true)) : undefined;
    if (inner === undefined) return node;
    node = inner;
  }
  return node;
}

function keyOf(step: PropertyKey): string | number {
  return typeof step === "symbol" ? "" : step;
}

function resolve(document: Document, node: unknown): Node | undefined {
  if (isAlias(node)) return node.resolve(document);
  return isMap(node) || isSeq(node) || isScalar(node) ? node : undefined;
}

function keyOffset(node: Node | undefined, key: string): number | undefined {
  const pair = isMap(node)
    ? node.items.find((item) => isScalar(item.key) && item.key.value === key)
    : undefined;
  return isScalar(pair?.key) ? pair.key.range?.[0] : node?.range?.[0];
}

function firstLine(error: unknown): string {
  const line = errorText(error).split("\n")[0] ?? "";
  return clip(line.replaceAll(/\p{Cc}/gu, "?"));
}

function clip(text: string): string {
  return text.length <= 120 ? text : `${text.slice(0, 117)}...`;
}
