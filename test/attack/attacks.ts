/** All attacks on the wire, in the order of ATTACKS.md. */
import type { Attack } from "./attack.ts";
import { altered } from "./attacks/altered.ts";
import { downgraded } from "./attacks/downgraded.ts";
import { frames } from "./attacks/frames.ts";
import { reflected } from "./attacks/reflected.ts";
import { relayed } from "./attacks/relayed.ts";
import { replayed } from "./attacks/replayed.ts";
import { stripped } from "./attacks/stripped.ts";
import { tokens } from "./attacks/tokens.ts";

export const attacks: readonly Attack[] = [
  ...altered,
  ...replayed,
  ...reflected,
  ...relayed,
  ...tokens,
  ...downgraded,
  ...stripped,
  ...frames,
];
