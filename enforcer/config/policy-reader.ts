/**
 * Owns from which thread a policy's text is read: YAML of a thousand policies takes long enough to keep plugins waiting, so
 * that a large text is read in a thread of its own, which ends with it.
 */
import { Worker } from "node:worker_threads";
import { errorText } from "../operation-error.ts";
import { parseSliced, type SlicedResult } from "../policy/parse-sliced.ts";

/** What a text of this length takes here is less than the start of a thread. */
const ASIDE_CHARACTERS = 16_384;

/** Reads and validates a policy's text; `file` only names it in problems. Never rejects. */
export async function readPolicy(text: string, file: string): Promise<SlicedResult> {
  if (text.length <= ASIDE_CHARACTERS) return parseSliced(text, file);
  const worker = new Worker(new URL("./policy-worker.ts", import.meta.url), { name: "policy" });
  try {
    return await new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.once("exit", () => reject(new Error("its thread ended early")));
      worker.postMessage({ text, file });
    });
  } catch (error) {
    const problem = {
      file,
      line: 1,
      column: 1,
      subject: "",
      message: `it can't be read: ${errorText(error)}`,
    };
    return { ok: false, problems: [{ ...problem, remedy: "write less, or split it" }] };
  } finally {
    void worker.terminate();
  }
}
