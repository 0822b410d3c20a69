/** Folders outside of ours that runtimes and libcni make. */
import { existsSync, readdirSync, rmdirSync } from "node:fs";
import type { Lab } from "../harness/lab.ts";

const folders = [
  "/var/lib/cni/results",
  "/var/lib/cni",
  "/run/containerd/s",
  "/run/containerd",
  "/opt/cni/bin",
  "/opt/cni",
];

/** At the lab's end, removes those that weren't there before and are empty. Call it first: the lab undoes it last. */
export function keepSharedFolders(lab: Lab): void {
  const absent = folders.filter((name) => !existsSync(name));
  lab.defer(() => {
    for (const folder of absent)
      if (existsSync(folder) && readdirSync(folder).length === 0) rmdirSync(folder);
  });
}
