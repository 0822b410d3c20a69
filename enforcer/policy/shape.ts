/** Owns the building blocks of file schemas: each says what to write, to the person who wrote something else and to the JSON schema alike. */
import * as z from "zod";
import { parseCidr } from "./addresses.ts";
import { limitProblems, MAX_PROBLEMS, type Path, type SourceDocument } from "./document.ts";
import type { Problem } from "./problem.ts";

/** Joins what is wrong and its remedy into the one text that a schema's issue carries. */
export function fault(message: string, remedy: string): string {
  return `${message}\n${remedy}`;
}

/** The error of a leaf: `description` completes the sentence "write …". */
function wrong(description: string): (issue: { input?: unknown }) => string {
  return ({ input }) =>
    fault(input === undefined ? "it is missing" : `${show(input)} is not valid here`, `write ${description}`);
}

/** A value as an error message shows it: short, on one line. */
export function show(value: unknown): string {
  const text =
    typeof value === "object" && value !== null
      ? Array.isArray(value)
        ? "a list"
        : "a map"
      : JSON.stringify(value);
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}

export function text(description: string, pattern: RegExp): z.ZodString {
  return z
    .string({ error: wrong(description) })
    .regex(pattern, { error: wrong(description) })
    .meta({ description });
}

export function integer(description: string, minimum: number, maximum: number): z.ZodNumber {
  const error = wrong(description);
  return z.int({ error }).min(minimum, { error }).max(maximum, { error }).meta({ description });
}

export function choice<const T extends readonly string[]>(
  description: string,
  values: T,
): z.ZodEnum<{ [K in T[number]]: K }> {
  return z.enum(values, { error: wrong(description) }).meta({ description });
}

export function list<T extends z.ZodType>(description: string, item: T, minimum = 0): z.ZodArray<T> {
  const error = wrong(description);
  return z.array(item, { error }).min(minimum, { error }).meta({ description });
}

/** A CIDR in its canonical form; `examples` are such as its writer may mean. */
export function block(examples: string): z.ZodString {
  return z
    .string({ error: () => fault("this is not a CIDR", `write text such as ${examples}`) })
    .superRefine((draft, context) => {
      const parsed = parseCidr(draft);
      if ("error" in parsed)
        context.addIssue({ code: "custom", message: fault(parsed.error, parsed.remedy) });
    })
    .meta({ description: `an address or CIDR without host bits, such as ${examples}` });
}

/** A map with these keys and no others. */
export function map<T extends z.core.$ZodShape>(
  description: string,
  shape: T,
): z.ZodObject<T, z.core.$strict> {
  const error = (issue: { code?: string; keys?: string[]; input?: unknown }): string =>
    issue.code === "unrecognized_keys"
      ? fault(
          `unknown key ${(issue.keys ?? []).map(show).join(", ")}`,
          `use only ${Object.keys(shape).join(", ")}`,
        )
      : wrong(description)(issue);
  return z.strictObject(shape, { error }).meta({ description });
}

export type Checked<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problems: readonly Problem[] };

/** Checks a document against a schema; `subjectOf` names what a path belongs to. Every issue becomes a problem with its place. */
export function checkDocument<T>(
  schema: z.ZodType<T>,
  document: SourceDocument,
  subjectOf: (path: Path) => string,
): Checked<T> {
  const result = schema.safeParse(document.value);
  if (result.success) return { ok: true, value: result.data };
  const issues = result.error.issues.slice(0, MAX_PROBLEMS + 1);
  const problems = issues.flatMap((issue) => toProblems(issue, document, subjectOf(issue.path)));
  return {
    ok: false,
    problems: limitProblems(
      problems.sort((left, right) => left.line - right.line || left.column - right.column),
    ),
  };
}

function toProblems(issue: z.core.$ZodIssue, document: SourceDocument, subject: string): Problem[] {
  const [message = "", remedy = "see the README"] = issue.message.split("\n");
  const base = { file: document.file, subject, remedy };
  if (issue.code !== "unrecognized_keys") return [{ ...base, ...document.locate(issue.path), message }];
  return issue.keys.slice(0, MAX_PROBLEMS + 1).map((key) => ({
    ...base,
    ...document.locateKey(issue.path, key),
    message: `unknown key ${show(key)}`,
  }));
}

/** `networks.pods[0]` */
export function formatPath(path: Path): string {
  return path
    .map((step, index) => (typeof step === "number" ? `[${step}]` : `${index > 0 ? "." : ""}${String(step)}`))
    .join("");
}
