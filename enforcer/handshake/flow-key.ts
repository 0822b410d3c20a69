/** Owns the key of every table of connections: a TCP 4-tuple as this PU's side sees it, in nine integers and a seeded hash, so that a look-up allocates nothing. */
import type { Packet } from "../packet/packet.ts";
import type { FlowAddresses } from "./flow-record.ts";

/** Local address, remote address (four big-endian words each, IPv4 mapped) and both ports in one word. Mutable only as a scratch key. */
export interface FlowKey {
  local0: number;
  local1: number;
  local2: number;
  local3: number;
  remote0: number;
  remote1: number;
  remote2: number;
  remote3: number;
  ports: number;
  hash: number;
}

export function emptyFlowKey(): FlowKey {
  return {
    local0: 0,
    local1: 0,
    local2: 0,
    local3: 0,
    remote0: 0,
    remote1: 0,
    remote2: 0,
    remote3: 0,
    ports: 0,
    hash: 0,
  };
}

const mappedWord = 0xffff;

function word(bytes: Uint8Array, offset: number): number {
  return (
    ((bytes[offset] ?? 0) << 24) |
    ((bytes[offset + 1] ?? 0) << 16) |
    ((bytes[offset + 2] ?? 0) << 8) |
    (bytes[offset + 3] ?? 0)
  );
}

/** Fills a scratch key with a packet's 4-tuple as its sender's (outbound) or receiver's (inbound) side sees it. `seed` must be random, so that nobody can choose addresses that collide. */
export function loadFlowKey(into: FlowKey, packet: Packet, isInbound: boolean, seed: number): FlowKey {
  const { sourceOffset, destinationOffset, sourcePort, destinationPort } = packet;
  loadAddresses(
    into,
    packet,
    isInbound ? destinationOffset : sourceOffset,
    isInbound ? sourceOffset : destinationOffset,
  );
  into.ports = isInbound ? (destinationPort << 16) | sourcePort : (sourcePort << 16) | destinationPort;
  into.hash = hashKey(into, seed);
  return into;
}

/** Fills a scratch key with the 4-tuple of the packet that an inbound ICMP error quotes: one that we sent, or so it says. */
export function loadQuotedFlowKey(into: FlowKey, packet: Packet, seed: number): FlowKey {
  const { sourceOffset, destinationOffset, sourcePort, destinationPort } = packet.quoted;
  loadAddresses(into, packet, sourceOffset, destinationOffset);
  into.ports = (sourcePort << 16) | destinationPort;
  into.hash = hashKey(into, seed);
  return into;
}

function loadAddresses(into: FlowKey, packet: Packet, localOffset: number, remoteOffset: number): void {
  if (packet.version === 4) loadMapped(into, packet.buffer, localOffset, remoteOffset);
  else loadWhole(into, packet.buffer, localOffset, remoteOffset);
}

function loadMapped(into: FlowKey, bytes: Uint8Array, localOffset: number, remoteOffset: number): void {
  into.local0 = into.local1 = into.remote0 = into.remote1 = 0;
  into.local2 = into.remote2 = mappedWord;
  into.local3 = word(bytes, localOffset);
  into.remote3 = word(bytes, remoteOffset);
}

function loadWhole(into: FlowKey, bytes: Uint8Array, localOffset: number, remoteOffset: number): void {
  into.local0 = word(bytes, localOffset);
  into.local1 = word(bytes, localOffset + 4);
  into.local2 = word(bytes, localOffset + 8);
  into.local3 = word(bytes, localOffset + 12);
  into.remote0 = word(bytes, remoteOffset);
  into.remote1 = word(bytes, remoteOffset + 4);
  into.remote2 = word(bytes, remoteOffset + 8);
  into.remote3 = word(bytes, remoteOffset + 12);
}

/** One round of MurmurHash3 (public domain, Appleby). */
function mix(hash: number, value: number): number {
  let k = Math.imul(value, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  const mixed = hash ^ Math.imul(k, 0x1b873593);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

function hashKey(key: FlowKey, seed: number): number {
  let hash = mix(mix(mix(seed, key.local3), key.remote3), key.ports);
  hash = mix(mix(mix(hash, key.local0), key.local1), key.local2);
  hash = mix(mix(mix(hash, key.remote0), key.remote1), key.remote2);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return hash ^ (hash >>> 13);
}

/** Whether both name the same 4-tuple. */
export function sameFlow(a: FlowKey, b: FlowKey): boolean {
  return (
    a.ports === b.ports &&
    a.remote3 === b.remote3 &&
    a.local3 === b.local3 &&
    a.remote2 === b.remote2 &&
    a.remote1 === b.remote1 &&
    a.remote0 === b.remote0 &&
    a.local2 === b.local2 &&
    a.local1 === b.local1 &&
    a.local0 === b.local0
  );
}

/** A copy to keep. */
export function copyFlowKey(key: FlowKey): FlowKey {
  return { ...key };
}

/** Addresses and ports in bytes and numbers of their own. */
export function flowAddresses(key: FlowKey): FlowAddresses {
  return {
    local: addressOf(key.local0, key.local1, key.local2, key.local3),
    localPort: key.ports >>> 16,
    remote: addressOf(key.remote0, key.remote1, key.remote2, key.remote3),
    remotePort: key.ports & 0xffff,
  };
}

function addressOf(...words: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  for (const [index, value] of words.entries()) view.setInt32(index * 4, value);
  return bytes;
}
