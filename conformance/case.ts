/**
 * Owns what a case is: a requirement's number, what it says, and how a plugin is run and judged. Most cases are data
 * (environment, standard input, expectation); what needs several steps is a function over the same site.
 */
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import type { Run, Site } from "./site.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type Config = Readonly<Record<string, Json | undefined>>;

/** A variable set to `undefined` is not in the environment. */
export type CaseEnv = Readonly<Record<string, string | undefined>>;

/** What a site has to offer: nothing but a folder, an enforcer, or also a pod with an interface and addresses. */
export type Need = "nothing" | "enforcer" | "pod";

export interface Case {
  /** Of cni-requirements, groups A to L. */
  readonly requirement: number;
  readonly title: string;
  readonly needs: Need;
  /** It measures what a busy machine can't do, so nothing else runs beside it. */
  readonly isAlone?: true;
  /** Throws an assertion error if the plugin doesn't meet the requirement; gives a reason if this machine can't tell. */
  readonly run: (site: Site) => Promise<Skip | undefined>;
}

export interface Skip {
  readonly skipped: string;
}

export type Verb = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";

/** One run of the plugin as data. `$NETNS`, `$SOCKET`, `$FOLDER` and `$ID` in any text stand for the site's. */
export interface RunData {
  readonly verb: Verb;
  /** Over the verb's usual environment. */
  readonly env?: CaseEnv;
  /** Members over the usual configuration (`undefined` takes one out), or the whole input as text or bytes. */
  readonly stdin?: Config | string | Uint8Array;
}

/** What a run must come to. A failure's error object is checked for its form in any case. */
export type Expectation =
  /** Exit 0; ADD prints its prevResult with the configuration's version, other verbs nothing. */
  | "success"
  | {
      readonly code: number | readonly number[];
      /** Texts that `msg` or `details` contain. */
      readonly says?: readonly string[];
    };

/** A case of one run. */
export function oneRun(
  requirement: number,
  title: string,
  needs: Need,
  data: RunData,
  expected: Expectation,
): Case {
  return steps(requirement, title, needs, async (site) => {
    expectOutcome(await site.run(data), expected);
  });
}

/** Cases that differ in one place. `%s` in the title stands for the entry's key. */
export function eachRun(
  requirement: number,
  title: string,
  needs: Need,
  variants: Readonly<Record<string, RunData>>,
  expected: Expectation,
): Case[] {
  return Object.entries(variants).map(([name, data]) =>
    oneRun(requirement, title.replace("%s", name), needs, data, expected),
  );
}

/** A case of several steps, which may find that this machine can't tell. */
export function steps(
  requirement: number,
  title: string,
  needs: Need,
  run: (site: Site) => Promise<void> | Promise<Skip | undefined>,
): Case {
  return { requirement, title, needs, run: async (site) => (await run(site)) ?? undefined };
}

/** Asserts that a run came to what is expected of it. */
export function expectOutcome(run: Run, expected: Expectation): void {
  if (expected === "success") expectSuccess(run);
  else expectFailure(run, expected);
}

function expectSuccess(run: Run): void {
  assert.equal(
    run.exitCode,
    0,
    `exit code ${String(run.exitCode)} (${String(run.signal)}), stdout ${run.stdout.slice(0, 600)}`,
  );
  if (run.verb === "ADD") expectResult(run);
  else if (run.verb !== "VERSION") assert.equal(run.stdout, "", "a success prints nothing");
}

/** prevResult, deep-equal but for its cniVersion, which is the configuration's. */
function expectResult(run: Run): void {
  const config = JSON.parse(run.input) as { cniVersion: string; prevResult: object };
  const wanted = { ...config.prevResult, cniVersion: config.cniVersion };
  const found: unknown = JSON.parse(run.stdout);
  assert.ok(isDeepStrictEqual(found, wanted), `the result isn't prevResult: ${run.stdout.slice(0, 600)}`);
}

export interface ErrorObject {
  readonly cniVersion: string;
  readonly code: number;
  readonly msg: string;
  readonly details?: string;
}

export function expectFailure(run: Run, { code, says = [] }: Exclude<Expectation, "success">): ErrorObject {
  assert.notEqual(run.exitCode, 0, `exit code 0, stdout ${run.stdout.slice(0, 300)}`);
  const error = readError(run);
  const codes = typeof code === "number" ? [code] : code;
  assert.ok(codes.includes(error.code), `code ${error.code} instead of ${codes.join(" or ")}: ${error.msg}`);
  for (const text of says) {
    assert.ok(`${error.msg} ${error.details ?? ""}`.includes(text), `"${error.msg}" doesn't say "${text}"`);
  }
  return error;
}

/** The one error object on stdout, its form checked. */
export function readError(run: Run): ErrorObject {
  assert.equal(run.signal, null, `ended by ${String(run.signal)}`);
  const error = JSON.parse(run.stdout) as Partial<ErrorObject>;
  assert.ok(Number.isInteger(error.code) && error.code !== 0, `code is ${String(error.code)}`);
  assert.ok(typeof error.msg === "string" && error.msg !== "", "msg is missing");
  assert.ok(typeof error.cniVersion === "string" && error.cniVersion !== "", "cniVersion is missing");
  assert.ok(error.details === undefined || typeof error.details === "string", "details is no string");
  assert.doesNotMatch(run.stdout, /\\n\s+at /, "a stack trace");
  return error as ErrorObject;
}

/** The case, with the machine to itself. */
export function alone(entry: Case): Case {
  return { ...entry, isAlone: true };
}

/** An object without one of its members. */
export function omit(object: Readonly<Record<string, Json>>, key: string): Readonly<Record<string, Json>> {
  return Object.fromEntries(Object.entries(object).filter(([name]) => name !== key));
}
