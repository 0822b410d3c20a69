/** What an attack on the wire is, and what came of one. */
import type { Reason } from "../../enforcer/reason.ts";
import { sleep, waitFor } from "../harness/command.ts";
import { counted, type Field } from "./field.ts";

export interface Attack {
  /** As in ATTACKS.md. */
  readonly name: string;
  /** The check that stops it, as the patch of this name takes it out. */
  readonly patch: string;
  /** Which enforcer stops it, and what it counts. */
  readonly stopped: { readonly by: "client" | "server"; readonly reason: Reason };
  /** Tries to get `word` to an application that must not hear it. May wait for ever for an answer that doesn't come. */
  readonly run: (field: Field, word: string) => Promise<void>;
}

/** What was stopped is looked for a little longer; again when all attacks are over. */
const SETTLE_MS = 100;
const LIMIT_MS = 15_000;
let serial = 0;

/** A word that nobody says by chance. */
export function newWord(): string {
  return `evil-${process.pid}-${serial++};`;
}

/** Runs an attack until it is stopped and that is counted, or has got through. */
export async function outcome(field: Field, attack: Attack, word: string): Promise<"stopped" | "through"> {
  const { by, reason } = attack.stopped;
  const { enforcer } = field[by];
  const before = await counted(enforcer, reason);
  let failure: Error | undefined;
  attack.run(field, word).catch((error: unknown) => {
    failure = new Error(`${attack.name} failed by itself`, { cause: error });
  });
  try {
    const ended = await waitFor(
      `${attack.name}: ${reason} at the ${by}, or its word`,
      async () => {
        if (failure !== undefined) throw failure;
        if (field.heard(word)) return "through" as const;
        return (await counted(enforcer, reason)) > before ? ("stopped" as const) : undefined;
      },
      LIMIT_MS,
    );
    if (ended === "stopped") await sleep(SETTLE_MS);
    return field.heard(word) ? "through" : ended;
  } finally {
    field.calm();
  }
}
