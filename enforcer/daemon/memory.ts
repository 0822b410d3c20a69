/** Owns how much memory the main thread keeps: what only the start needed goes, and what requests leave behind doesn't pile up. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { releaseStartMemory } from "../../netlink/memory.ts";

/** The heap's young generation stays as small as it begins (2 MB), rather than grow to 32 MB with what each request leaves behind. */
export function keepHeapSmall(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
}

/** Collects garbage once, now that everything has started, so that what it held (the program's text as it was read, above all) can go. */
export function forgetStart(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  setFlagsFromString("--no-expose-gc");
  releaseStartMemory();
}
