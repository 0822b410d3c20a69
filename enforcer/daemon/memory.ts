/** Owns how much memory the main thread keeps: what only the start needed goes, and what requests leave behind doesn't pile up. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { releaseUnusedMemory } from "../../netlink/memory.ts";

/**
 * The heap's young generation stays as small as it begins (2 MB), rather than grow to 32 MB with what each request leaves behind. So little
 * is collected faster, in either thread, than helpers are woken for it.
 */
export function keepHeapSmall(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
  setFlagsFromString("--no-parallel-scavenge");
}

/** To be called when everything has started: drops what that held, the program's text as it was read above all. */
export function forgetStart(): void {
  collectGarbage();
}

/** What calls of the plugin leave behind would lie there until the next ones come, and a node can be quiet for long. */
const CALLS_PER_COLLECTION = 32;

/** Returns what is to be called after each call of the plugin that was performed in this process. */
export function callForgetter(): () => void {
  let calls = 0;
  return () => {
    calls = (calls + 1) % CALLS_PER_COLLECTION;
    if (calls === 0) collectGarbage();
  };
}

let collect: (() => void) | undefined;

function collectGarbage(): void {
  collect ??= exposeCollector();
  collect();
  releaseUnusedMemory();
}

function exposeCollector(): () => void {
  setFlagsFromString("--expose-gc");
  const exposed = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  return exposed;
}
