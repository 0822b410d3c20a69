/**
 * Owns lookup by address: which of many overlapping blocks have this one. CIDRs either nest or are apart, so they form a forest, and
 * the address line falls into pieces that each belong to one innermost block: one binary search finds it, whatever their number.
 */
import { type Cidr, containsCidr, isMapped, offsetOf } from "./addresses.ts";
import { finish, type Steps } from "./steps.ts";

/** What a block of addresses stands for. */
export interface CidrEntry<T> {
  readonly cidr: Cidr;
  /** Blocks inside `cidr` that this entry leaves out. */
  readonly except: readonly Cidr[];
  readonly value: T;
}

interface Node<T> {
  readonly cidr: Cidr;
  parent: Node<T> | undefined;
  readonly added: CidrEntry<T>[];
  readonly removed: Set<CidrEntry<T>>;
  covering: readonly CidrEntry<T>[] | undefined;
  values: readonly T[] | undefined;
}

/** A piece of the line: from `start` (16 bytes at start index × 16) to the next one's start. */
interface Line<T> {
  readonly starts: Uint8Array;
  readonly nodes: readonly (Node<T> | undefined)[];
}

/** Built once; lookups allocate nothing after the first in each piece. */
export class CidrTree<T> {
  readonly #ipv4: Line<T>;
  readonly #ipv6: Line<T>;
  readonly #none: readonly T[] = [];

  private constructor(ipv4: Line<T>, ipv6: Line<T>) {
    this.#ipv4 = ipv4;
    this.#ipv6 = ipv6;
  }

  static of<T>(entries: readonly CidrEntry<T>[]): CidrTree<T> {
    return finish(CidrTree.build(entries));
  }

  static *build<T>(entries: readonly CidrEntry<T>[]): Steps<CidrTree<T>> {
    const ipv4 = yield* buildLine(entries.filter((entry) => entry.cidr.family === 4));
    const ipv6 = yield* buildLine(entries.filter((entry) => entry.cidr.family === 6));
    return new CidrTree(ipv4, ipv6);
  }

  /** The values of all entries that have this address (16 bytes), the outermost block first; the same array for the same piece of the line. */
  lookup(address: Uint8Array): readonly T[] {
    const line = isMapped(address) ? this.#ipv4 : this.#ipv6;
    const node = line.nodes[lastStartUpTo(line.starts, address)];
    if (node === undefined) return this.#none;
    node.values ??= covering(node).map((entry) => entry.value);
    return node.values;
  }
}

/** What has the addresses of this node: what its parent has, less exceptions, and its own. Depth is at most 129. */
function covering<T>(node: Node<T>): readonly CidrEntry<T>[] {
  if (node.covering !== undefined) return node.covering;
  const inherited = node.parent === undefined ? [] : covering(node.parent);
  node.covering = [...inherited, ...node.added].filter((entry) => !node.removed.has(entry));
  return node.covering;
}

/** The index of the last start that isn't after the address; -1 if there is none. */
function lastStartUpTo(starts: Uint8Array, address: Uint8Array): number {
  let low = 0;
  let high = starts.length / 16;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareAt(starts, middle * 16, address) <= 0) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function compareAt(starts: Uint8Array, offset: number, address: Uint8Array): number {
  for (let index = 0; index < 16; index++) {
    const difference = (starts[offset + index] ?? 0) - (address[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Walks the blocks from low to high with a stack of those that are open; where one starts or ends, a piece starts. */
function* buildLine<T>(entries: readonly CidrEntry<T>[]): Steps<Line<T>> {
  const pieces = new Map<string, Node<T> | undefined>();
  const open: Node<T>[] = [];
  const close = (node: Node<T>): void => {
    const after = addressAfter(node.cidr);
    if (after !== undefined) pieces.set(keyOf(after), node.parent);
    open.pop();
  };
  for (const node of yield* collectNodes(entries)) {
    for (let top = open.at(-1); top !== undefined && !containsCidr(top.cidr, node.cidr); top = open.at(-1))
      close(top);
    node.parent = open.at(-1);
    pieces.set(keyOf(node.cidr.address), node);
    open.push(node);
    yield undefined;
  }
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) close(top);
  return flatten(pieces);
}

/** One node for each distinct block, be it an entry's or an exception's; by address, outer blocks first. */
function* collectNodes<T>(entries: readonly CidrEntry<T>[]): Steps<Node<T>[]> {
  const nodes = new Map<string, Node<T>>();
  const nodeOf = (cidr: Cidr): Node<T> => {
    const key = `${keyOf(cidr.address)}/${String(cidr.prefixLength).padStart(3, "0")}`;
    const node = nodes.get(key) ?? newNode<T>(cidr);
    nodes.set(key, node);
    return node;
  };
  for (const entry of entries) {
    nodeOf(entry.cidr).added.push(entry);
    for (const hole of entry.except) nodeOf(hole).removed.add(entry);
    yield undefined;
  }
  return [...nodes].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, node]) => node);
}

function newNode<T>(cidr: Cidr): Node<T> {
  return { cidr, parent: undefined, added: [], removed: new Set(), covering: undefined, values: undefined };
}

function flatten<T>(pieces: ReadonlyMap<string, Node<T> | undefined>): Line<T> {
  const sorted = [...pieces].sort(([left], [right]) => (left < right ? -1 : 1));
  return {
    starts: Buffer.from(sorted.map(([start]) => start).join(""), "hex"),
    nodes: sorted.map(([, node]) => node),
  };
}

function keyOf(address: Uint8Array): string {
  return Buffer.from(address).toString("hex");
}

/** The first address after a block; undefined at the end of the line. */
function addressAfter(cidr: Cidr): Uint8Array | undefined {
  const bits = offsetOf(cidr) + cidr.prefixLength;
  if (bits === 0) return undefined;
  const after = Uint8Array.from(cidr.address);
  let carry = 1 << ((128 - bits) % 8);
  for (let index = (bits - 1) >> 3; index >= 0 && carry > 0; index--) {
    const sum = (after[index] ?? 0) + carry;
    after[index] = sum & 0xff;
    carry = sum >> 8;
  }
  return carry === 0 ? after : undefined;
}
