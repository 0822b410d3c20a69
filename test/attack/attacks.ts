/** All attacks on the wire, in the order of ATTACKS.md. */
import type { Attack } from "./attack.ts";
import { altered } from "./attacks/altered.ts";

export const attacks: readonly Attack[] = [...altered];
