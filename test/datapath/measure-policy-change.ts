/**
 * Measures how long a change to a policy as large as a file can be keeps the datapath's thread from its packets: compiled
 * whole, from a copy, and in slices. `node test/datapath/measure-policy-change.ts` prints milliseconds; the least of some
 * rounds counts, since others on the machine only add to it.
 */
import { parentPort, Worker } from "node:worker_threads";
import { PolicyCompiler } from "../../enforcer/datapath/policy-compiler.ts";
import { attributesFromObject, type Attributes } from "../../enforcer/policy/attributes.ts";
import { compilePolicy } from "../../enforcer/policy/evaluate.ts";
import type { Policy } from "../../enforcer/policy/model.ts";
import { parsePolicy } from "../../enforcer/policy/parse.ts";
import { slicePolicy, type SlicedPolicy } from "../../enforcer/policy/slices.ts";

const POLICIES = 10_000;
const ROUNDS = 5;
const units = Array.from({ length: 20 }, (_, index) => attributesFromObject({ app: `a${index}` }));

type Task = { readonly whole: Policy } | { readonly sliced: SlicedPolicy };

const texts = {
  "each for its own unit": policyText((index) => `{matchLabels: {app: a${index}}}`),
  "all for every unit": policyText(() => "{}"),
};

function policyText(subject: (index: number) => string): string {
  const policies = Array.from(
    { length: POLICIES },
    (_, index) =>
      ` - {name: p${index}, subject: ${subject(index)}, ingress: [{from: [{matchLabels: {app: c${index}}}]}]}\n`,
  );
  return `version: 1\npolicies:\n${policies.join("")}`;
}

/** The longest time between two turns of this thread until the work is done and every unit was judged once. */
function serve(port: NonNullable<typeof parentPort>): void {
  let lastMs = performance.now();
  let longestMs = 0;
  const look = (): void => {
    const nowMs = performance.now();
    longestMs = Math.max(longestMs, nowMs - lastMs);
    lastMs = nowMs;
  };
  const watch = (): void => {
    look();
    setImmediate(watch);
  };
  watch();
  port.on("message", (task: Task) => {
    const judge = (policy: ReturnType<typeof compilePolicy>): void => {
      const peer: Attributes = attributesFromObject({ app: "c1" });
      for (const unit of units) policy.evaluate("ingress", unit, peer, "tcp", 80);
      look();
      port.postMessage(longestMs);
    };
    if ("whole" in task) judge(compilePolicy(task.whole));
    else new PolicyCompiler({ apply: judge, now: () => performance.now() }).start(task.sliced, 1, units);
  });
  port.postMessage("ready");
}

async function measure(make: () => Task): Promise<number> {
  let leastMs = Infinity;
  for (let round = 0; round < ROUNDS; round += 1) {
    const worker = new Worker(new URL(import.meta.url));
    const next = (): Promise<unknown> => new Promise((resolve) => worker.once("message", resolve));
    await next();
    const task = make();
    const answer = next();
    worker.postMessage(task, "sliced" in task ? task.sliced.slices.map(({ buffer }) => buffer) : []);
    leastMs = Math.min(leastMs, Number(await answer));
    await worker.terminate();
  }
  return leastMs;
}

async function main(): Promise<void> {
  for (const [title, text] of Object.entries(texts)) {
    const began = performance.now();
    const result = parsePolicy(text, "measured");
    if (!result.ok) throw new Error(JSON.stringify(result.problems[0]));
    const readMs = performance.now() - began;
    const whole = await measure(() => ({ whole: result.policy }));
    const sliced = await measure(() => ({ sliced: slicePolicy(result.policy) }));
    const figures = [readMs, whole, sliced].map((ms) => ms.toFixed(1));
    console.log(`${title}: read in ${figures[0]}, whole ${figures[1]}, in slices ${figures[2]}`);
  }
}

if (parentPort === null) await main();
else serve(parentPort);
