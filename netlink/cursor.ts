/**
 * The one place that knows how netlink lays out bytes: messages, attributes, alignment, byte order.
 * Source: netlink(7), linux/netlink.h. Numbers without `be` are in the host's order, little-endian.
 */

/** Thrown by readers and caught by every exported decoder: it never leaves this package. */
export class Malformed extends Error {}

const NLA_HEADER = 4;
const NLA_TYPE_MASK = 0x3fff;
const NLA_F_NESTED = 0x8000;
const NLMSG_HEADER = 16;

function align(length: number): number {
  return (length + 3) & ~3;
}

/**
 * Walks attributes in place, without allocation. After `next` returned true, `type`, `offset` and `length` describe the
 * attribute's payload; after it returned false, `malformed` tells whether the end was clean.
 */
export class AttributeCursor {
  type = 0;
  offset = 0;
  length = 0;
  malformed = false;
  #view: DataView | undefined;
  #position = 0;
  #end = 0;

  /** Begins at `start`; nothing at or beyond `end` is read. */
  enter(view: DataView, start: number, end: number): void {
    this.#view = view;
    this.#position = start;
    this.#end = end;
    this.malformed = start > end || end > view.byteLength;
  }

  next(): boolean {
    const view = this.#view;
    const rest = this.#end - this.#position;
    if (view === undefined || this.malformed || rest === 0) return false;
    const total = rest < NLA_HEADER ? 0 : view.getUint16(this.#position, true);
    // The last attribute need not be padded: nfnetlink_queue ends its message right behind the packet.
    if (total < NLA_HEADER || total > rest) {
      this.malformed = true;
      return false;
    }
    this.type = view.getUint16(this.#position + 2, true) & NLA_TYPE_MASK;
    this.offset = this.#position + NLA_HEADER;
    this.length = total - NLA_HEADER;
    this.#position += Math.min(align(total), rest);
    return true;
  }
}

/**
 * The attributes of one message or nest by type, read in place with the checks that their types need. Of two of one type the
 * last counts, as in the kernel. Throws Malformed.
 */
export class Attributes {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Type, offset and length of each, in order. They are few: looking through all is faster than a map. */
  readonly #found: number[] = [];

  /** Those between `start` and `end` of `bytes`, which `view` shows. */
  constructor(bytes: Uint8Array, view = viewOf(bytes), start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#view = view;
    const cursor = new AttributeCursor();
    cursor.enter(view, start, end);
    while (cursor.next()) this.#found.push(cursor.type, cursor.offset, cursor.length);
    if (cursor.malformed) throw new Malformed("attribute length");
  }

  /** Every type that is there. */
  types(): number[] {
    return this.#found.filter((_, index) => index % 3 === 0);
  }

  /** Shares memory with what was read. */
  bytes(type: number): Uint8Array | undefined {
    const at = this.#find(type);
    return at === undefined ? undefined : this.#payload(at);
  }

  requiredBytes(type: number): Uint8Array {
    return this.#payload(this.#require(type));
  }

  nested(type: number): Attributes | undefined {
    const at = this.#find(type);
    return at === undefined ? undefined : this.#nestAt(at);
  }

  requiredNested(type: number): Attributes {
    return this.#nestAt(this.#require(type));
  }

  /** What each attribute of a nest holds, in order, whatever its type; empty where the nest is missing. */
  list(type: number): Uint8Array[] {
    const nest = this.nested(type);
    return nest === undefined ? [] : nest.#places().map((at) => nest.#payload(at));
  }

  /** The nests in a nest, in order, whatever their types. */
  requiredNests(type: number): Attributes[] {
    const nest = this.requiredNested(type);
    return nest.#places().map((at) => nest.#nestAt(at));
  }

  /** Text up to its NUL. */
  string(type: number): string | undefined {
    const data = this.bytes(type);
    return data === undefined ? undefined : textOf(data);
  }

  requiredString(type: number): string {
    return textOf(this.requiredBytes(type));
  }

  u8(type: number): number | undefined {
    const offset = this.#number(type, 1);
    return offset === undefined ? undefined : this.#view.getUint8(offset);
  }

  u16be(type: number): number | undefined {
    const offset = this.#number(type, 2);
    return offset === undefined ? undefined : this.#view.getUint16(offset, false);
  }

  u32(type: number): number | undefined {
    const offset = this.#number(type, 4);
    return offset === undefined ? undefined : this.#view.getUint32(offset, true);
  }

  u32be(type: number): number | undefined {
    const offset = this.#number(type, 4);
    return offset === undefined ? undefined : this.#view.getUint32(offset, false);
  }

  u64be(type: number): bigint | undefined {
    const offset = this.#number(type, 8);
    return offset === undefined ? undefined : this.#view.getBigUint64(offset, false);
  }

  /** Index into `#found`; undefined: there is none. */
  #find(type: number): number | undefined {
    for (let at = this.#found.length - 3; at >= 0; at -= 3) if (this.#found[at] === type) return at;
    return undefined;
  }

  #require(type: number): number {
    const at = this.#find(type);
    if (at === undefined) throw new Malformed(`attribute ${type} is missing`);
    return at;
  }

  #places(): number[] {
    return this.types().map((_, index) => index * 3);
  }

  #offset(at: number): number {
    return this.#found[at + 1] ?? 0;
  }

  #length(at: number): number {
    return this.#found[at + 2] ?? 0;
  }

  #payload(at: number): Uint8Array {
    return this.#bytes.subarray(this.#offset(at), this.#offset(at) + this.#length(at));
  }

  #nestAt(at: number): Attributes {
    return new Attributes(this.#bytes, this.#view, this.#offset(at), this.#offset(at) + this.#length(at));
  }

  /** Where a number of so many bytes is. */
  #number(type: number, bytes: number): number | undefined {
    const at = this.#find(type);
    if (at === undefined) return undefined;
    if (this.#length(at) !== bytes)
      throw new Malformed(`attribute ${type} has ${this.#length(at)} bytes, not ${bytes}`);
    return this.#offset(at);
  }
}

/** `value`, which the message can't do without. Throws Malformed. */
export function required<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Malformed(`${what} is missing`);
  return value;
}

export function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}

function textOf(data: Uint8Array): string {
  const end = data.indexOf(0);
  return Buffer.from(data.buffer, data.byteOffset, end < 0 ? data.length : end).toString();
}

/** Writes messages one after another into one buffer, which grows unless `fixed`. */
export class MessageWriter {
  #bytes: Uint8Array;
  #view: DataView;
  /** The same memory. */
  #text: Buffer;
  #position = 0;
  #message = 0;
  readonly #fixed: boolean;

  constructor(capacityBytes = 4096, fixed = false) {
    this.#bytes = new Uint8Array(capacityBytes);
    this.#view = viewOf(this.#bytes);
    this.#text = Buffer.from(this.#bytes.buffer);
    this.#fixed = fixed;
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#position;
  }

  /** The whole buffer, of which `length` bytes are written; replaced when it grows. */
  get buffer(): Uint8Array {
    return this.#bytes;
  }

  get capacity(): number {
    return this.#bytes.length;
  }

  /** What is written; shares the buffer. */
  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#position);
  }

  reset(): void {
    this.#position = 0;
  }

  /** Opens a message; its length is filled in by `end`. */
  begin(type: number, flags: number, sequence: number): void {
    this.#reserve(NLMSG_HEADER);
    this.#message = this.#position;
    this.#view.setUint16(this.#position + 4, type, true);
    this.#view.setUint16(this.#position + 6, flags, true);
    this.#view.setUint32(this.#position + 8, sequence, true);
    this.#view.setUint32(this.#position + 12, 0, true);
    this.#position += NLMSG_HEADER;
  }

  /** Sets more flags in the message begun last. */
  addFlags(flags: number): void {
    const offset = this.#message + 6;
    this.#view.setUint16(offset, this.#view.getUint16(offset, true) | flags, true);
  }

  end(): void {
    this.#view.setUint32(this.#message, this.#position - this.#message, true);
  }

  /** Bytes of a fixed header behind the message's own, padded to 4. */
  header(...values: readonly number[]): void {
    this.#reserve(align(values.length));
    this.#bytes.set(values, this.#position);
    this.#position += align(values.length);
  }

  /** struct nfgenmsg; `resource` is big-endian. Apart from `header` since the hot path uses it. */
  nfgen(family: number, resource: number): void {
    this.#reserve(4);
    this.#view.setUint8(this.#position, family);
    this.#view.setUint8(this.#position + 1, 0);
    this.#view.setUint16(this.#position + 2, resource, false);
    this.#position += 4;
  }

  u8(type: number, value: number): void {
    this.#attribute(type, 1);
    this.#view.setUint8(this.#position, value);
    this.#pad(1);
  }

  u16be(type: number, value: number): void {
    this.#attribute(type, 2);
    this.#view.setUint16(this.#position, value, false);
    this.#pad(2);
  }

  u32(type: number, value: number): void {
    this.#attribute(type, 4);
    this.#view.setUint32(this.#position, value, true);
    this.#position += 4;
  }

  u32be(type: number, value: number): void {
    this.#attribute(type, 4);
    this.#view.setUint32(this.#position, value, false);
    this.#position += 4;
  }

  /** Two big-endian 32-bit numbers in one attribute. */
  pair32be(type: number, first: number, second: number): void {
    this.#attribute(type, 8);
    this.#view.setUint32(this.#position, first, false);
    this.#view.setUint32(this.#position + 4, second, false);
    this.#position += 8;
  }

  bytes(type: number, data: Uint8Array): void {
    this.#attribute(type, data.length);
    this.#bytes.set(data, this.#position);
    this.#pad(data.length);
  }

  /** With its NUL. */
  string(type: number, text: string): void {
    const length = Buffer.byteLength(text);
    this.#attribute(type, length + 1);
    this.#text.write(text, this.#position);
    this.#bytes[this.#position + length] = 0;
    this.#pad(length + 1);
  }

  /** Opens a nest; give what it returns to `closeNest`. */
  openNest(type: number): number {
    this.#attribute(type | NLA_F_NESTED, 0);
    return this.#position - NLA_HEADER;
  }

  closeNest(start: number): void {
    const length = this.#position - start;
    if (length > 0xffff) throw new RangeError(`a netlink attribute holds 65,535 bytes, not ${length}`);
    this.#view.setUint16(start, length, true);
  }

  nest(type: number, content: () => void): void {
    const start = this.openNest(type);
    content();
    this.closeNest(start);
  }

  #attribute(type: number, length: number): void {
    const total = NLA_HEADER + length;
    if (total > 0xffff) throw new RangeError(`a netlink attribute holds 65,531 bytes, not ${length}`);
    this.#reserve(align(total));
    this.#view.setUint16(this.#position, total, true);
    this.#view.setUint16(this.#position + 2, type, true);
    this.#position += NLA_HEADER;
  }

  /** Goes past `length` bytes and zeroes the padding behind them. */
  #pad(length: number): void {
    const end = this.#position + align(length);
    for (let index = this.#position + length; index < end; index++) this.#bytes[index] = 0;
    this.#position = end;
  }

  #reserve(length: number): void {
    if (this.#position + length <= this.#bytes.length) return;
    if (this.#fixed) throw new RangeError(`the message buffer of ${this.#bytes.length} bytes is full`);
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#position + length));
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = viewOf(larger);
    this.#text = Buffer.from(larger.buffer);
  }
}
