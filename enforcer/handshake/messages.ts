/** Owns the layout of the SYN and SYN-ACK payloads: encode and decode, sizes. Source: PROTOCOL.md. */
import type { Reason } from "../reason.ts";

export const protocolVersion = 1;
/** Bits of `SynMessage.suites`: bit n - 1 is suite n. */
export const suiteBit = (suite: 1 | 2): number => 1 << (suite - 1);
export const nonceLength = 16;
export const tagLength = 16;
export const addressLength = 16;

/** Payload of a SYN. In a decoded one all byte arrays are views of the payload; nothing of it is verified. */
export interface SynMessage {
  readonly versionMin: number;
  readonly versionMax: number;
  /** Bit n - 1 is suite n; never 0. */
  readonly suites: number;
  readonly flags: number;
  /** The window of the sender's own SYN, before it was raised. */
  readonly window: number;
  /** 16 bytes. */
  readonly nonce: Uint8Array;
  readonly token: Uint8Array;
  readonly certificates: readonly Uint8Array[];
  /** TLVs, checked and in ascending order of type; empty if there are none. */
  readonly extensions: Uint8Array;
}

/** Payload of a SYN-ACK. In a decoded one all byte arrays are views of the payload; nothing of it is verified. */
export interface SynAckMessage {
  readonly version: number;
  readonly suite: number;
  readonly flags: number;
  readonly window: number;
  readonly nonce: Uint8Array;
  /** 16 bytes, the server's own address (IPv4 mapped) and port. */
  readonly serverAddress: Uint8Array;
  readonly serverPort: number;
  /** 16 bytes, the client's address and port as the server saw them. */
  readonly clientAddress: Uint8Array;
  readonly clientPort: number;
  readonly token: Uint8Array;
  readonly certificates: readonly Uint8Array[];
  readonly extensions: Uint8Array;
  /** Tag S, 16 bytes: the last of the payload. */
  readonly tag: Uint8Array;
}

/** Whether a payload begins with the magic, so that it is (or claims to be) ours. */
export function hasMagic(payload: Uint8Array): boolean {
  throw new Error("not yet");
}

/** Bytes of a SYN payload without extensions. */
export function synLength(token: Uint8Array, certificates: readonly Uint8Array[]): number {
  throw new Error("not yet");
}

/** Bytes of a SYN-ACK payload without extensions, its tag included. */
export function synAckLength(token: Uint8Array, certificates: readonly Uint8Array[]): number {
  throw new Error("not yet");
}

/** Writes the payload to the start of `into` and returns its length. Throws RangeError if a field or `into` is too small or large: check `synLength` first. */
export function encodeSyn(message: SynMessage, into: Uint8Array): number {
  throw new Error("not yet");
}

/** Writes the payload, with the message's tag as its last 16 bytes (zeros until it is known), and returns its length. Throws like `encodeSyn`. */
export function encodeSynAck(message: SynAckMessage, into: Uint8Array): number {
  throw new Error("not yet");
}

/** Decodes a whole SYN payload; a reason if it is anything but one well-formed message. */
export function decodeSyn(payload: Uint8Array): SynMessage | Reason {
  throw new Error("not yet");
}

/** Decodes a whole SYN-ACK payload; a reason if it is anything but one well-formed message. */
export function decodeSynAck(payload: Uint8Array): SynAckMessage | Reason {
  throw new Error("not yet");
}
