/** Gives memory back that only a program's start needed. Sources: madvise(2), malloc_trim(3), addon/netlink.c. */
import { addon } from "./addon.ts";

/**
 * Drops what is mapped of the program's file (code and constants; what is needed again comes back from the page cache) and freed heap
 * memory. To be called once, when everything has started. False where the kernel refuses.
 */
export function releaseStartMemory(): boolean {
  return addon().releaseStartMemory() === 0;
}
