/** IP addresses and prefixes as bytes, and as text (RFC 5952 for IPv6). */
import { isIPv4, isIPv6 } from "node:net";

/** An address of 4 or 16 bytes, big-endian, and how many leading bits of it count. */
export interface Prefix {
  readonly address: Uint8Array;
  readonly length: number;
}

/** "10.0.0.0/8", "fe80::/10", or an address alone for all its bits; undefined if it is none of these. */
export function parsePrefix(text: string): Prefix | undefined {
  const [addressText = "", lengthText, ...rest] = text.split("/");
  const address = parseAddress(addressText);
  if (address === undefined || rest.length > 0) return undefined;
  const bits = address.length * 8;
  if (lengthText === undefined) return { address, length: bits };
  if (!/^(0|[1-9]\d{0,2})$/.test(lengthText) || Number(lengthText) > bits) return undefined;
  return { address, length: Number(lengthText) };
}

export function formatPrefix({ address, length }: Prefix): string {
  return `${formatAddress(address)}/${length}`;
}

/** 4 or 16 bytes; undefined for anything else, zones ("%eth0") included. */
export function parseAddress(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split(".").map(Number));
  if (!isIPv6(text) || text.includes("%")) return undefined;
  const [head = "", tail] = text.split("::");
  const front = groupBytes(head);
  const back = groupBytes(tail ?? "");
  const gap: number[] = new Array<number>(16 - front.length - back.length).fill(0);
  return Uint8Array.from([...front, ...gap, ...back]);
}

function groupBytes(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (group.includes(".")) return group.split(".").map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

export function formatAddress(address: Uint8Array): string {
  if (address.length === 4) return address.join(".");
  const view = new DataView(address.buffer, address.byteOffset, address.byteLength);
  const groups = Array.from({ length: address.length / 2 }, (_, index) =>
    view.getUint16(index * 2).toString(16),
  );
  const { start, length } = longestZeroRun(groups);
  if (length < 2) return groups.join(":");
  return `${groups.slice(0, start).join(":")}::${groups.slice(start + length).join(":")}`;
}

function longestZeroRun(groups: readonly string[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === "0") length++;
    if (length > best.length) best = { start, length };
  }
  return best;
}
