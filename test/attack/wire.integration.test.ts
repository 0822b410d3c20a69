/**
 * Each entry of the "must resist" list, forged on the wire against two live enforcers: as they are shipped nothing gets through, and
 * without the one check that a patch takes out, it does. The list: enforcer/handshake/ATTACKS.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";
import { getsPast, getsThrough, mallorys, newWord } from "./attack.ts";
import { attacks } from "./attacks.ts";
import { Field } from "./field.ts";
import { PatchedSource } from "./patched-source.ts";

const lab = new Lab();
let field: Field;
let source: PatchedSource;

beforeAll(async () => {
  field = await Field.create(lab);
  source = new PatchedSource(lab);
}, 60_000);
afterAll(() => lab.close());

describe("as it is shipped", () => {
  test.each(attacks)("$name is stopped by the $stopped.by", async (attack) => {
    expect(await getsPast(field, attack, newWord())).toBe(false);
  });

  test("an honest connection goes on, and not one byte of any attack has come", async () => {
    const { address: host, port } = field.serverPlace;
    field.client.dial({ host, port, localPort: field.newPort(), say: "honest" });
    await field.server.hears("honest");
    field.calm();
    expect(field.everything).toBe("honest");
    expect(field.heard(mallorys)).toBe(false);
  });
});

const byPatch = [...Map.groupBy(attacks, ({ patch }) => patch)];

describe.each(byPatch)("without the check in %s.patch", (patch, stoppedByIt) => {
  beforeAll(async () => {
    await field.replaceEnforcers(() => source.without(patch));
    for (const { inPlace } of stoppedByIt)
      if (inPlace !== undefined) await waitFor("the patched rules", () => inPlace(field));
  });

  test.each(stoppedByIt)("$name gets through", async (attack) => {
    await getsThrough(field, attack, newWord());
  });
});
