/** Owns addresses and prefixes as text and as bytes. Source: RFC 4291 sections 2.2 and 2.3, RFC 4632; what is an address, node:net says. */
import { isIPv4, isIPv6 } from "node:net";

/** An address in network byte order, 4 or 16 bytes, and how many leading bits of it count. */
export interface BinaryPrefix {
  readonly address: Uint8Array;
  readonly length: number;
}

/** `address/length`; undefined where the text is anything else. Bits behind the prefix are kept. */
export function parsePrefix(text: string): BinaryPrefix | undefined {
  const [addressText = "", lengthText = "", ...rest] = text.split("/");
  const address = parseAddress(addressText);
  const length = /^\d{1,3}$/.test(lengthText) ? Number(lengthText) : Infinity;
  if (address === undefined || rest.length > 0 || length > address.length * 8) return undefined;
  return { address, length };
}

/** 4 or 16 bytes; undefined where the text is no address, or one with a zone. */
export function parseAddress(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split("."), Number);
  return isIPv6(text) && !text.includes("%") ? parseAddress6(text) : undefined;
}

function parseAddress6(text: string): Uint8Array {
  const [head = "", tail] = text.split("::");
  const front = groupBytes(head);
  const back = groupBytes(tail ?? "");
  const bytes = new Uint8Array(16);
  bytes.set(front);
  bytes.set(back, 16 - back.length);
  return bytes;
}

function groupBytes(groups: string): number[] {
  if (groups === "") return [];
  return groups.split(":").flatMap((group) => {
    if (group.includes(".")) return group.split(".").map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}
