/** Owns the kernel edge of control: network namespaces, what they hold, and who is at the other end of a socket. */

/** What an interface inside a namespace is like. */
export interface PodInterface {
  /** The largest IP packet, in bytes. */
  readonly mtu: number;
  /** Its addresses, 4 or 16 bytes each. */
  readonly addresses: readonly Uint8Array[];
  /** IPv6 prefixes on the link, `address/length`. */
  readonly onLinkPrefixes6: readonly string[];
}

/** Tests use a fake one; `kernel-namespaces.ts` is the real one. Methods throw `Error`s whose message says what failed. */
export interface Namespaces {
  /** Opens the namespace at `path`; whoever calls owns the descriptor. Never waits, whatever the path names. */
  open(path: string): number;
  close(fd: number): void;
  /** SO_NETNS_COOKIE, decimal: unlike an inode's number, never used again while the machine runs. */
  cookie(fd: number): string;
  /** Whether this process itself lives there. */
  isOwn(fd: number): boolean;
  /** `undefined` where there is no interface of that name. */
  inspect(fd: number, ifname: string): PodInterface | undefined;
}
