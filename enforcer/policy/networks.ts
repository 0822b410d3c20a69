/** Owns the map of managed networks: what an address is to us, before any identity is known. Source: design, "Managed networks". */

import { type Cidr, contains, parseCidr } from "./addresses.ts";
import { type CidrEntry, CidrTree } from "./cidr-tree.ts";

/** As written in enforcer.yaml, validated. Addresses and CIDRs are canonical text. */
export interface NetworksConfig {
  /** CIDRs of pods; inside them a SYN or SYN-ACK without a token is refused. */
  readonly pods: readonly string[];
  /** CIDRs of Service VIPs. */
  readonly services: readonly string[];
  readonly unmanaged: readonly UnmanagedConfig[];
  /** Addresses or CIDRs that a source can be rewritten to. */
  readonly translators: readonly string[];
  /** RFC 6052 prefixes of length 32, 40, 48, 56, 64 or 96. */
  readonly nat64: readonly string[];
}

/** An address in the managed networks that carries no token. */
export interface UnmanagedConfig {
  /** Address or CIDR. */
  readonly address: string;
  /** Ports at that address; absent: all. */
  readonly ports?: readonly { readonly first: number; readonly last: number }[];
  /** IP protocol number; absent: all. */
  readonly protocol?: number;
}

/** Compiled from the configuration. Every address is 16 bytes, IPv4 as ::ffff:a.b.c.d, borrowed for the call only. */
export interface NetworkMap {
  /** What this address is: `unmanaged` (listed, for this port and protocol) wins over `pod` and `service`; port is the one at that address, 0 where there is none. */
  classify(address: Uint8Array, port: number, protocol: number): "pod" | "service" | "unmanaged" | "outside";
  isTranslator(address: Uint8Array): boolean;
  /** Whether the address lies in a Service network, listed as unmanaged or not. */
  isServiceAddress(address: Uint8Array): boolean;
  /** The IPv4 address (mapped) inside a NAT64 address; any other address as it is, the same object. */
  stripNat64(address: Uint8Array): Uint8Array;
}

type AddressKind = ReturnType<NetworkMap["classify"]>;

/** Compiles validated configuration. Throws RangeError on text that validation would have refused. */
export function compileNetworks(config: NetworksConfig): NetworkMap {
  const managed = CidrTree.of<AddressKind>([
    ...entries<AddressKind>(config.pods, "pod"),
    ...entries<AddressKind>(config.services, "service"),
  ]);
  const unmanaged = CidrTree.of(
    config.unmanaged.map((value) => ({ cidr: cidrOf(value.address), except: [], value })),
  );
  const services = CidrTree.of(entries(config.services, true));
  const translators = CidrTree.of(entries(config.translators, true));
  const nat64 = config.nat64.map(cidrOf);
  return {
    classify(address, port, protocol) {
      const kind = managed.lookup(address).at(-1) ?? "outside";
      if (unmanaged.lookup(address).some((entry) => isListed(entry, port, protocol))) return "unmanaged";
      return kind;
    },
    isTranslator: (address) => translators.lookup(address).length > 0,
    isServiceAddress: (address) => services.lookup(address).length > 0,
    stripNat64: (address) => stripPrefixes(nat64, address),
  };
}

function entries<T>(cidrs: readonly string[], value: T): CidrEntry<T>[] {
  return cidrs.map((cidr) => ({ cidr: cidrOf(cidr), except: [], value }));
}

function cidrOf(text: string): Cidr {
  const cidr = parseCidr(text);
  if ("error" in cidr) throw new RangeError(cidr.error);
  return cidr;
}

function isListed(entry: UnmanagedConfig, port: number, protocol: number): boolean {
  if (entry.protocol !== undefined && entry.protocol !== protocol) return false;
  return entry.ports === undefined || entry.ports.some((range) => range.first <= port && port <= range.last);
}

function stripPrefixes(prefixes: readonly Cidr[], address: Uint8Array): Uint8Array {
  const prefix = prefixes.find((candidate) => contains(candidate, address));
  return prefix === undefined ? address : embeddedIpv4(address, prefix.prefixLength / 8);
}

/** RFC 6052 2.2: four bytes after the prefix, stepping over byte 8, which is zero. */
function embeddedIpv4(address: Uint8Array, prefixBytes: number): Uint8Array {
  const mapped = new Uint8Array(16);
  mapped.fill(0xff, 10, 12);
  for (let index = 0, from = prefixBytes; index < 4; index++, from++) {
    if (from === 8) from++;
    mapped[12 + index] = address[from] ?? 0;
  }
  return mapped;
}
