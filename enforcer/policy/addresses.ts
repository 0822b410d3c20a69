/** Owns addresses and CIDRs as text and as 16 bytes: strict reading, one canonical writing. Sources: RFC 4291, RFC 5952, RFC 4632. */

const MAPPED_PREFIX_BITS = 96;

/** A block of addresses of one family. */
export interface Cidr {
  readonly family: 4 | 6;
  /** 16 bytes, host bits zero, IPv4 as ::ffff:a.b.c.d. */
  readonly address: Uint8Array;
  /** In the family's own count: 0–32 or 0–128. */
  readonly prefixLength: number;
}

/** Something that isn't the address it should be: what is wrong and what to write. */
export interface AddressError {
  readonly error: string;
  readonly remedy: string;
}

/** Whether 16 bytes are an IPv4 address as ::ffff:a.b.c.d. */
export function isMapped(address: Uint8Array): boolean {
  for (let index = 0; index < 10; index++) if (address[index] !== 0) return false;
  return address[10] === 0xff && address[11] === 0xff;
}

/** Reads `10.0.0.1` or `fd00::1` into 16 new bytes; undefined for anything else: leading zeros, zones, ports, brackets. */
export function parseAddress(text: string): Uint8Array | undefined {
  return text.includes(":") ? parseIpv6(text) : parseMappedIpv4(text);
}

function parseIpv4(text: string): number[] | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part))) return undefined;
  const bytes = parts.map(Number);
  return bytes.every((byte) => byte <= 255) ? bytes : undefined;
}

function parseMappedIpv4(text: string): Uint8Array | undefined {
  const bytes = parseIpv4(text);
  if (bytes === undefined) return undefined;
  const address = new Uint8Array(16);
  address.fill(0xff, 10, 12);
  address.set(bytes, 12);
  return address;
}

function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? "", halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? "", true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined;
  const address = new Uint8Array(16);
  address.set(head, 0);
  address.set(tail, 16 - tail.length);
  return address;
}

/** The bytes of `a:b:c`, or of nothing; the last group may be a dotted IPv4 address if the text ends there. */
function parseGroups(text: string, isEnd: boolean): number[] | undefined {
  if (text === "") return [];
  const groups = text.split(":");
  const bytes: number[] = [];
  for (const [index, group] of groups.entries()) {
    const dotted = isEnd && index === groups.length - 1 && group.includes(".") ? parseIpv4(group) : undefined;
    if (dotted !== undefined) bytes.push(...dotted);
    else if (/^[0-9a-fA-F]{1,4}$/.test(group))
      bytes.push(parseInt(group, 16) >> 8, parseInt(group, 16) & 0xff);
    else return undefined;
  }
  return bytes.length <= 16 ? bytes : undefined;
}

/** Writes 16 bytes as people do: dotted if mapped, else RFC 5952. */
export function formatAddress(address: Uint8Array): string {
  if (isMapped(address)) return address.subarray(12).join(".");
  const groups = Array.from(
    { length: 8 },
    (_, index) => ((address[index * 2] ?? 0) << 8) | (address[index * 2 + 1] ?? 0),
  );
  const gap = longestZeroRun(groups);
  const write = (part: number[]): string => part.map((group) => group.toString(16)).join(":");
  if (gap.length < 2) return write(groups);
  return `${write(groups.slice(0, gap.start))}::${write(groups.slice(gap.start + gap.length))}`;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (const [index, group] of groups.entries()) {
    if (group !== 0) start = index + 1;
    else if (index + 1 - start > best.length) best = { start, length: index + 1 - start };
  }
  return best;
}

/** Reads a CIDR, or an address as the block of it alone. Host bits, leading zeros and IPv4 inside IPv6 are refused with what to write. */
export function parseCidr(text: string): Cidr | AddressError {
  const slash = text.indexOf("/");
  const addressText = slash < 0 ? text : text.slice(0, slash);
  const address = parseAddress(addressText);
  if (address === undefined) return malformed(text);
  const family = addressText.includes(":") ? 6 : 4;
  const width = family === 4 ? 32 : 128;
  const lengthText = slash < 0 ? String(width) : text.slice(slash + 1);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(lengthText) || Number(lengthText) > width) {
    return {
      error: `"${clip(text)}" has no valid prefix length`,
      remedy: `write /0 to /${width} after the address`,
    };
  }
  return checkCanonical({ family, address, prefixLength: Number(lengthText) }, text);
}

function malformed(text: string): AddressError {
  return {
    error: `"${clip(text)}" is not an address or CIDR`,
    remedy: "write an IPv4 or IPv6 address without leading zeros, such as 10.0.0.0/8 or fd00::/8",
  };
}

function checkCanonical(cidr: Cidr, text: string): Cidr | AddressError {
  const network = maskAddress(cidr.address, offsetOf(cidr) + cidr.prefixLength);
  if (cidr.family === 6 && isMapped(cidr.address)) return mappedError(cidr, text);
  if (!equalAddresses(network, cidr.address)) {
    const canonical = formatCidr({ ...cidr, address: network });
    return { error: `"${clip(text)}" has bits set after its prefix`, remedy: `write ${canonical}` };
  }
  return cidr;
}

function mappedError(cidr: Cidr, text: string): AddressError {
  const length = Math.max(0, cidr.prefixLength - MAPPED_PREFIX_BITS);
  const canonical = {
    family: 4,
    address: maskAddress(cidr.address, MAPPED_PREFIX_BITS + length),
    prefixLength: length,
  } as const;
  return {
    error: `"${clip(text)}" is an IPv4 block written as IPv6`,
    remedy: `write ${formatCidr(canonical)}`,
  };
}

/** The canonical text; a single address keeps its prefix length. */
export function formatCidr(cidr: Cidr): string {
  return `${formatAddress(cidr.address)}/${cidr.prefixLength}`;
}

/** How many bits of the 16 bytes stand before the family's own. */
export function offsetOf(cidr: Pick<Cidr, "family">): number {
  return cidr.family === 4 ? MAPPED_PREFIX_BITS : 0;
}

/** A copy with every bit after the first `bits` cleared. */
export function maskAddress(address: Uint8Array, bits: number): Uint8Array {
  return address.map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - index * 8))));
}

function equalAddresses(left: Uint8Array, right: Uint8Array): boolean {
  return left.every((byte, index) => byte === right[index]);
}

/** Whether the block has this address. An IPv6 block never has an IPv4 address, and the other way round. */
export function contains(cidr: Cidr, address: Uint8Array): boolean {
  if (isMapped(address) !== (cidr.family === 4)) return false;
  return equalAddresses(maskAddress(address, offsetOf(cidr) + cidr.prefixLength), cidr.address);
}

/** Whether every address of `inner` is in `outer`. */
export function containsCidr(outer: Cidr, inner: Cidr): boolean {
  return (
    outer.family === inner.family &&
    outer.prefixLength <= inner.prefixLength &&
    contains(outer, inner.address)
  );
}

function clip(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
