/** Owns how refusals are made, those for times above all, which name both clocks. Source: design, "When something fails". */
import type { Reason } from "../reason.ts";
import type { Refusal } from "./identity.ts";

export function refuse(reason: Reason, detail: string): Refusal {
  return { ok: false, reason, detail };
}

/** A validity period, and the clock it is compared with. Times are wall clock. */
interface Validity {
  readonly what: "token" | "certificate";
  readonly notBeforeMs: number;
  readonly expiresAtMs: number;
  readonly clockSkewMs: number;
  readonly nowWallMs: number;
}

/** Valid from `notBeforeMs` less the skew, inclusive, to `expiresAtMs` plus the skew, exclusive. */
export function timesRefusal(validity: Validity): Refusal | undefined {
  const { what, notBeforeMs, expiresAtMs, clockSkewMs, nowWallMs } = validity;
  const ours = `our clock says ${clock(nowWallMs)}, allowed skew ${clockSkewMs / 1000} s`;
  if (nowWallMs < notBeforeMs - clockSkewMs) {
    const detail = `the ${what} is valid from ${clock(notBeforeMs)} on by its issuer's clock; ${ours}`;
    return { ...refuse(`${what}-not-yet-valid`, detail), retryAtMs: notBeforeMs - clockSkewMs };
  }
  if (nowWallMs >= expiresAtMs + clockSkewMs) {
    return refuse(
      `${what}-expired`,
      `the ${what} ended at ${clock(expiresAtMs)} by its issuer's clock; ${ours}`,
    );
  }
  return undefined;
}

/** RFC 3339, UTC. */
const clock = (timeMs: number): string => new Date(timeMs).toISOString();
