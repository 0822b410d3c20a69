/** The thread that reads one large policy's text, and hands over what came of it. */
import { parentPort } from "node:worker_threads";
import { parseSliced } from "../policy/parse-sliced.ts";

parentPort?.once("message", ({ text, file }: { text: string; file: string }) => {
  const result = parseSliced(text, file);
  const buffers = result.ok ? result.policy.slices.map(({ buffer }) => buffer) : [];
  parentPort?.postMessage(result, buffers);
});
