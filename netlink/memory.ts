/** Gives memory back that a program mapped and doesn't need now. Sources: madvise(2), malloc_trim(3), addon/netlink.c. */
import { addon } from "./addon.ts";

/**
 * Drops what is mapped of the program's file (code and constants; what is needed again comes back from the page cache) and freed heap
 * memory. Costs page faults afterwards: to be called when a phase of the program is over. False where the kernel refuses.
 */
export function releaseUnusedMemory(): boolean {
  return addon().releaseUnusedMemory() === 0;
}
