/** From the operator's limits to those of the engine. */
import type { LimitsConfig } from "../config/config.ts";
import { defaultLimits, type EngineLimits } from "../handshake/environment.ts";

export function engineLimits(limits: LimitsConfig): EngineLimits {
  return {
    ...defaultLimits,
    pending: limits.clientHandshakes,
    halfOpen: limits.serverHandshakes,
    halfOpenPerToken: limits.serverHandshakesPerToken,
    addressFlows: limits.clientHandshakes,
    answered: limits.authorisedRing,
    silentMs: limits.handshakeMs,
    resetsPerSecond: limits.resetsPerSecond,
  };
}
