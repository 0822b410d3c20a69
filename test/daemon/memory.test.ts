/** What the plugin's calls leave behind in the enforcer is collected, also when nothing else would ask for memory. */
import { expect, test } from "vitest";
import { callForgetter } from "../../enforcer/daemon/memory.ts";

const nextTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

test("what calls left behind is gone after the 32nd", async () => {
  const forget = callForgetter();
  const left = new WeakRef({ of: "a call" });
  // A WeakRef keeps its target alive until the turn in which it was made ends.
  await nextTurn();
  for (let call = 1; call <= 32; call++) forget();
  expect(left.deref()).toBeUndefined();
});
