/** Owns the map of managed networks: what an address is to us, before any identity is known. Source: design, "Managed networks". */

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

/** Compiles validated configuration. Throws RangeError on text that validation would have refused. */
export function compileNetworks(config: NetworksConfig): NetworkMap {
  throw new Error(`not yet: ${config.pods.length}`);
}
