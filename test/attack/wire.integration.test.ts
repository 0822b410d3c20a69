/**
 * Each entry of the "must resist" list, forged on the wire against two live enforcers: as they are shipped nothing gets through, and
 * without the one check that a patch takes out, it does. The list: enforcer/handshake/ATTACKS.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Lab } from "../harness/lab.ts";
import { newWord, outcome } from "./attack.ts";
import { attacks } from "./attacks.ts";
import { Field } from "./field.ts";
import { patchedProgram } from "./patched-source.ts";

const lab = new Lab();
const words: string[] = [];
let field: Field;

beforeAll(async () => {
  field = await Field.create(lab);
}, 60_000);
afterAll(() => lab.close());

describe("as it is shipped", () => {
  test.each(attacks)("$name: stopped by the $stopped.by, $stopped.reason", async (attack) => {
    const word = newWord();
    words.push(word);
    expect(await outcome(field, attack, word)).toBe("stopped");
  });

  test("honest connections go on", async () => {
    const word = newWord();
    const { address: host, port } = field.serverPlace;
    field.client.dial({ host, port, localPort: field.newPort(), say: word });
    await field.server.hears(word);
    field.calm();
  });

  test("and nothing of any attack came later", () => {
    expect(words.filter((word) => field.heard(word))).toEqual([]);
  });
});

const byPatch = [...Map.groupBy(attacks, ({ patch }) => patch)];

describe.each(byPatch)("without the check in %s.patch", (patch, stoppedByIt) => {
  beforeAll(async () => {
    await field.restart(await patchedProgram(lab, patch));
  });

  test.each(stoppedByIt)("$name gets through", async (attack) => {
    expect(await outcome(field, attack, newWord())).toBe("through");
  });
});
