/** Owns the list of all cases, and of the requirements that have none here, with the reason. */
import { addCases } from "./cases/add.ts";
import { argsCases } from "./cases/args.ts";
import { checkCases } from "./cases/check.ts";
import { configCases } from "./cases/config.ts";
import { delCases } from "./cases/del.ts";
import { durabilityCases } from "./cases/durability.ts";
import { environmentCases } from "./cases/environment.ts";
import { errorCases } from "./cases/errors.ts";
import { gcCases } from "./cases/gc.ts";
import { processCases } from "./cases/process.ts";
import { statusCases } from "./cases/status.ts";
import { versionCases } from "./cases/version.ts";
import type { Case } from "./case.ts";

export const cases: readonly Case[] = [
  ...processCases,
  ...environmentCases,
  ...argsCases,
  ...configCases,
  ...versionCases,
  ...addCases,
  ...delCases,
  ...checkCases,
  ...gcCases,
  ...statusCases,
  ...errorCases,
  ...durabilityCases,
];

/** Groups A to L. */
export const requirementCount = 200;

/** Requirements without a case of their own in this suite. */
export const without: ReadonlyMap<number, string> = new Map([
  [134, "waits: the queue of deletions does not exist yet; until then DEL succeeds without the enforcer"],
  [135, "waits: the queue of deletions"],
  [136, "waits: the queue of deletions"],
  [143, "the state is the enforcer's: test/conformance/live-enforcer.integration.test.ts"],
  [190, "the state is the enforcer's: test/conformance/live-enforcer.integration.test.ts"],
  [194, "the enforcer's check: test/conformance/live-enforcer.integration.test.ts"],
  [195, "the enforcer's check: test/conformance/live-enforcer.integration.test.ts"],
  [198, "waits: other C libraries"],
]);
