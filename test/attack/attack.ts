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
const LIMIT_MS = 30_000;
let serial = 0;

/** How every word of an attack begins. */
export const mallorys = "Ev!L";

/** Eight characters that nobody says by chance, never the same twice. */
export function newWord(): string {
  return mallorys + String(serial++).padStart(4, "0");
}

/** Runs an attack until the enforcer has counted why it stops it, and a little longer; gives whether its word has come all the same. */
export async function getsPast(field: Field, attack: Attack, word: string): Promise<boolean> {
  const { by, reason } = attack.stopped;
  const { enforcer } = field[by];
  const before = reason === undefined ? 0 : await counted(enforcer, reason);
  try {
    await mount(field, attack, word, `${String(reason)} at the ${by}`, async (isOver) =>
      reason === undefined ? isOver : (await counted(enforcer, reason)) > before,
    );
    await sleep(SETTLE_MS);
    return field.heard(word);
  } finally {
    field.calm();
  }
}

/** Runs an attack until its word has come; throws if it doesn't. */
export async function getsThrough(field: Field, attack: Attack, word: string): Promise<void> {
  try {
    await mount(field, attack, word, "its word", () => field.heard(word));
  } finally {
    field.calm();
  }
}

/** `isEnough` is told whether the attack has sent all that it sends. */
async function mount(
  field: Field,
  attack: Attack,
  word: string,
  what: string,
  isEnough: (isOver: boolean) => boolean | Promise<boolean>,
): Promise<void> {
  let state: "running" | "over" | Error = "running";
  const now = (): typeof state => state;
  attack.run(field, word).then(
    () => (state = "over"),
    (cause: unknown) => (state = new Error(`${attack.name} failed by itself`, { cause })),
  );
  const probe = (): boolean | Promise<boolean> => {
    const then = now();
    if (then instanceof Error) throw then;
    return isEnough(then === "over");
  };
  await waitFor(`${attack.name}: ${what}`, probe, LIMIT_MS);
}
