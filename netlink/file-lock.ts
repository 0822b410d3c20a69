/** A lock that ends with its process, which Node.js has no call for. Source: flock(2). */
import { addon } from "./addon.ts";
import { EAGAIN } from "./errno.ts";
import { checked } from "./error.ts";

/**
 * Locks the open file `fd` against every other opening of it, on this machine and without waiting: false where another has
 * the lock. Closing `fd` lets go, and so does the end of the process, whatever ends it. Throws NetlinkError.
 */
export function tryLockFile(fd: number): boolean {
  const result = addon().lockFile(fd);
  if (result === -EAGAIN) return false;
  checked(`lock descriptor ${fd}`, result);
  return true;
}
