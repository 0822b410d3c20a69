/**
 * Owns reading JSON without losing any of it: values by `JSON.parse`, and the source text of an object's members, so that
 * what passes through us comes out as it went in (numbers above 2^53, unknown keys, their order). Source: RFC 8259.
 *
 * `JSON.parse` keeps a stack of its own, so nesting costs no recursion, and makes `__proto__` an ordinary own key; readers
 * must only ask for own keys (`member`). Of duplicate keys the last one counts, as in Go.
 */

/** An object as `JSON.parse` gives it. Read it by `member`: its prototype's names aren't its members. */
export type JsonObject = Readonly<Record<string, unknown>>;

export type ParsedJson =
  | { readonly ok: true; readonly value: unknown }
  /** Where in the text (UTF-16 units) it stops being JSON, as far as the engine says. */
  | { readonly ok: false; readonly position: number | undefined };

/** The engine's message quotes the text, which may hold secrets: only the position is taken from it. */
export function parseJson(text: string): ParsedJson {
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch (error) {
    const position = /position (\d+)/.exec(String(error))?.[1];
    return { ok: false, position: position === undefined ? undefined : Number(position) };
  }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The own member `key`; `undefined` where there is none. */
export function member(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** One member of an object with its place in the text: `source` is the value's own text. */
export interface MemberSource {
  readonly key: string;
  /** `"key": value` as it stands in the text. */
  readonly pair: string;
  readonly source: string;
}

/** The members of an object in the order of the text, duplicates included. `text` must be valid JSON, of an object. */
export function memberSources(text: string): MemberSource[] {
  const members: MemberSource[] = [];
  let at = skipSpace(text, text.indexOf("{") + 1);
  while (text[at] === '"') {
    const keyEnd = skipString(text, at);
    const valueStart = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const valueEnd = skipValue(text, valueStart);
    const key = JSON.parse(text.slice(at, keyEnd)) as string;
    members.push({ key, pair: text.slice(at, valueEnd), source: text.slice(valueStart, valueEnd) });
    at = skipSpace(text, skipSpace(text, valueEnd) + 1);
  }
  return members;
}

/** The source text of the last member `key`, which is the one that counts. */
export function memberSource(text: string, key: string): string | undefined {
  return memberSources(text).findLast((candidate) => candidate.key === key)?.source;
}

const space = /[ \t\n\r]/;
const scalarEnd = /[ \t\n\r,\]}]/g;
const structure = /["[\]{}]/g;

function skipSpace(text: string, at: number): number {
  while (space.test(text.charAt(at))) at++;
  return at;
}

/** From the opening quote to behind the closing one. */
function skipString(text: string, at: number): number {
  for (at++; text[at] !== '"'; at++) if (text[at] === "\\") at++;
  return at + 1;
}

function skipValue(text: string, at: number): number {
  const first = text[at];
  if (first === '"') return skipString(text, at);
  if (first === "{" || first === "[") return skipNested(text, at);
  scalarEnd.lastIndex = at;
  return scalarEnd.exec(text)?.index ?? text.length;
}

function skipNested(text: string, at: number): number {
  let depth = 0;
  do {
    structure.lastIndex = at;
    const next = structure.exec(text);
    if (next === null) return text.length;
    at = next[0] === '"' ? skipString(text, next.index) : next.index + 1;
    if (next[0] === "{" || next[0] === "[") depth++;
    if (next[0] === "}" || next[0] === "]") depth--;
  } while (depth > 0);
  return at;
}
