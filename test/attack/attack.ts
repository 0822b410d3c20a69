/** What an attack on the wire is, and what came of one. */
import type { Reason } from "../../enforcer/reason.ts";
import { sleep, waitFor } from "../harness/command.ts";
import { counted, type Field } from "./field.ts";

export interface Attack {
  /** As in ATTACKS.md. */
  readonly name: string;
  /** The check that stops it, as the patch of this name takes it out. */
  readonly patch: string;
  /** Whose enforcer stops it, and what it counts: nothing, where one of its rules drops frames. */
  readonly stopped: { readonly by: "client" | "server"; readonly reason: Reason | undefined };
  /** For a patch of rules: whether they are the patched ones by now. */
  readonly inPlace?: (field: Field) => Promise<boolean>;
  /** Tries to get `word` to an application that must not hear it. May wait for ever for an answer that doesn't come. */
  readonly run: (field: Field, word: string) => Promise<void>;
}

/** What was stopped is looked for a little longer; again when all attacks are over. */
const SETTLE_MS = 150;
const LIMIT_MS = 15_000;
let serial = 0;

/** How every word of an attack begins. */
export const mallorys = "Ev!L";

/** Eight characters that nobody says by chance, never the same twice. */
export function newWord(): string {
  return mallorys + String(serial++).padStart(4, "0");
}

export type End = "stopped" | "through";

/** Runs an attack until it is stopped, and that is counted, or it has got through. */
export async function outcome(field: Field, attack: Attack, word: string): Promise<End> {
  try {
    const { reason } = attack.stopped;
    const isStopped =
      reason === undefined
        ? await isSilent(field, attack, word)
        : await isCounted(field, attack, reason, word);
    if (isStopped) await sleep(SETTLE_MS);
    return field.heard(word) ? "through" : "stopped";
  } finally {
    field.calm();
  }
}

/** Whether nothing has come of everything that the attack sends. */
async function isSilent(field: Field, attack: Attack, word: string): Promise<boolean> {
  await attack.run(field, word);
  return !field.heard(word);
}

/** Whether the reason was counted before the word came. */
async function isCounted(field: Field, attack: Attack, reason: Reason, word: string): Promise<boolean> {
  const { enforcer } = field[attack.stopped.by];
  const before = await counted(enforcer, reason);
  let failure: Error | undefined;
  attack.run(field, word).catch((error: unknown) => {
    failure = new Error(`${attack.name} failed by itself`, { cause: error });
  });
  const isStopped = async (): Promise<"stopped" | undefined> => {
    if (failure !== undefined) throw failure;
    return (await counted(enforcer, reason)) > before ? "stopped" : undefined;
  };
  const ended = await waitFor(
    `${attack.name}: ${reason} at the ${attack.stopped.by}, or its word`,
    async () => (field.heard(word) ? ("through" as const) : isStopped()),
    LIMIT_MS,
  );
  return ended === "stopped";
}
