/** The published schemas of what commands print with `--json`, as a check of what one has printed. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv } from "ajv";
import addFormats from "ajv-formats";
import { expect } from "vitest";
import { repository } from "../harness/binaries.ts";

/** Gives what fails the test unless a document fits `enforcer/cli/schemas/<name>.schema.json`. */
export function validator(name: string): (document: unknown) => void {
  const path = join(repository, "enforcer/cli/schemas", `${name}.schema.json`);
  const ajv = new Ajv({ strict: false, allErrors: true });
  addFormats.default(ajv);
  const validate = ajv.compile(JSON.parse(readFileSync(path, "utf8")) as object);
  return (document) => {
    validate(document);
    expect(validate.errors ?? []).toEqual([]);
  };
}
