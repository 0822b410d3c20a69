import { expect, test } from "vitest";
import { Turns } from "../../enforcer/control/turns.ts";

test("work on one thing is done in the order it was asked for, failures included; things don't wait for one another", async () => {
  const turns = new Turns();
  const done: string[] = [];
  const first = Promise.withResolvers<undefined>();
  const slow = turns.take("a", async () => {
    await first.promise;
    done.push("a1");
    throw new Error("a1 failed");
  });
  const next = turns.take("a", () => done.push("a2"));
  await turns.take("b", () => done.push("b1"));
  expect(done).toEqual(["b1"]);
  first.resolve(undefined);
  await expect(slow).rejects.toThrow("a1 failed");
  expect(await next).toBe(3);
  expect(done).toEqual(["b1", "a1", "a2"]);
});

test("settled waits for everything asked until then", async () => {
  const turns = new Turns();
  const done: number[] = [];
  for (const number of [1, 2, 3])
    void turns.take("a", () => new Promise(setImmediate).then(() => done.push(number)));
  await turns.settled();
  expect(done).toEqual([1, 2, 3]);
});
