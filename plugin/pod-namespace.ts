/**
 * Owns the kernel edge: what the plugin reads and changes inside a pod's network namespace. Nothing is joined; each socket
 * and file is opened inside it (`netlink/`). Sources: namespaces(7); linux/magic.h for the file system of namespace files.
 */
import { statfsSync, statSync } from "node:fs";
import { NetlinkError } from "../netlink/error.ts";
import { closeFd, netnsCookie, openNetns, readFileInNetns, writeFileInNetns } from "../netlink/netns.ts";
import { Nftables } from "../netlink/nftables/nftables.ts";
import type { Table } from "../netlink/nftables/model.ts";
import { Route } from "../netlink/route.ts";
import { CniError } from "./cni-error.ts";
import { hasEgress, readTables, removeTables, type FoundTables } from "./rule-tables.ts";

/** A pod's namespace, open until `close`. Methods throw what the kernel refuses as `NetlinkError` or as an errno error. */
export interface PodNamespace {
  /** SO_NETNS_COOKIE, decimal. */
  readonly cookie: string;
  /** The interface's addresses, 4 or 16 bytes each; undefined where there is no such interface. */
  addressesOf(interfaceName: string): readonly Uint8Array[] | undefined;
  /** Our tables as they are now. */
  readRules(): FoundTables;
  /** Puts the tables in place of those of the same names, in one batch. */
  replaceRules(tables: readonly Table[]): void;
  /** Whether the kernel has the hook of the egress table. */
  hasEgress(): boolean;
  /** Done as well when there is none. */
  removeRules(): void;
  /** `path` below /proc/sys. */
  readSysctl(path: string): string;
  writeSysctl(path: string, value: string): void;
  close(): void;
}

export type OpenPodNamespace = (path: string) => PodNamespace;

/** Opens the namespace that `path` names. Throws a `CniError` with code 8 where it names none; never waits, whatever it names. */
export const openPodNamespace: OpenPodNamespace = (path) => {
  const kind = namespaceKind(path);
  if (kind !== "namespace") throw new CniError("invalidNamespace", `CNI_NETNS ${path} ${kind}`);
  return new KernelNamespace(openDescriptor(path));
};

function openDescriptor(path: string): number {
  try {
    return openNetns(path);
  } catch (error) {
    if (error instanceof NetlinkError) {
      throw new CniError("invalidNamespace", `CNI_NETNS ${path} is not a network namespace (${error.code})`);
    }
    const reason = error instanceof Error ? error.message : String(error);
    throw new CniError("rulesNotInstalled", `netlink is not available: ${reason}`);
  }
}

/** Whether `path` is the namespace that this process itself is in. False where either can't be read. */
export function isOwnNamespace(path: string): boolean {
  try {
    const [own, other] = ["/proc/self/ns/net", path].map((file) => statSync(file, { bigint: true }));
    return own?.ino === other?.ino && own?.dev === other?.dev;
  } catch {
    return false;
  }
}

/** NSFS_MAGIC, and PROC_SUPER_MAGIC, which namespace files had before Linux 3.19. */
const namespaceFileSystems = [0x6e736673, 0x9fa0];

/** Looks without opening: to open a FIFO waits for its other end. */
function namespaceKind(path: string): "namespace" | "does not exist" | "is not a network namespace" {
  try {
    const regular = statSync(path).isFile();
    return regular && namespaceFileSystems.includes(statfsSync(path).type)
      ? "namespace"
      : "is not a network namespace";
  } catch {
    return "does not exist";
  }
}

class KernelNamespace implements PodNamespace {
  readonly cookie: string;
  readonly #fd: number;
  #nftables: Nftables | undefined;

  /** Takes over `fd`. */
  constructor(fd: number) {
    this.#fd = fd;
    this.cookie = netnsCookie(fd).toString();
  }

  addressesOf(interfaceName: string): readonly Uint8Array[] | undefined {
    const route = Route.open({ netns: this.#fd });
    try {
      const link = route.links().find(({ name }) => name === interfaceName);
      return link && route.addresses(link.index).map(({ prefix }) => prefix.address);
    } finally {
      route.close();
    }
  }

  readRules(): FoundTables {
    return readTables(this.#tables());
  }

  replaceRules(tables: readonly Table[]): void {
    this.#tables().replace(tables);
  }

  removeRules(): void {
    removeTables(this.#tables());
  }

  hasEgress(): boolean {
    return hasEgress(this.#tables());
  }

  readSysctl(path: string): string {
    return readFileInNetns(this.#fd, `/proc/sys/${path}`).trim();
  }

  writeSysctl(path: string, value: string): void {
    writeFileInNetns(this.#fd, `/proc/sys/${path}`, value);
  }

  close(): void {
    this.#nftables?.close();
    closeFd(this.#fd);
  }

  #tables(): Nftables {
    return (this.#nftables ??= Nftables.open({ netns: this.#fd }));
  }
}
