/** Owns the layout of the SYN and SYN-ACK payloads: encode and decode, sizes. Source: PROTOCOL.md. */
import { Reader, Writer } from "../packet/cursor.ts";
import type { Reason } from "../reason.ts";

export const protocolVersion = 1;
const nonceLength = 16;
export const tagLength = 16;
const addressLength = 16;

/** Bit of `SynMessage.suites` that stands for a suite: bit n - 1 is suite n. */
export function suiteBit(suite: number): number {
  return 1 << (suite - 1);
}

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
  /** At most 4. */
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
  /** 16 bytes (IPv4 mapped), and port: the server's own. */
  readonly serverAddress: Uint8Array;
  readonly serverPort: number;
  /** 16 bytes (IPv4 mapped), and port: the client's as the server saw them. */
  readonly clientAddress: Uint8Array;
  readonly clientPort: number;
  readonly token: Uint8Array;
  /** At most 4. */
  readonly certificates: readonly Uint8Array[];
  readonly extensions: Uint8Array;
  /** Tag S, 16 bytes: the last of the payload. */
  readonly tag: Uint8Array;
}

/** D7, then "TRIREME": no text protocol begins so, and no UTF-8 text either. */
const magic = Uint8Array.of(0xd7, 0x54, 0x52, 0x49, 0x52, 0x45, 0x4d, 0x45);
const typeSyn = 1;
const typeSynAck = 2;
const maximumCertificates = 4;
const criticalExtension = 0x8000;
/** From the magic to the nonce. */
const synFixedLength = 33;
/** From the magic to the client's port. */
const synAckFixedLength = 67;

/** Whether a payload begins with the magic, so that it is (or claims to be) ours. */
export function hasMagic(payload: Uint8Array): boolean {
  for (let i = 0; i < magic.length; i++) if (payload[i] !== magic[i]) return false;
  return true;
}

/** Bytes of a SYN payload without extensions. */
export function synLength(token: Uint8Array, certificates: readonly Uint8Array[]): number {
  return synFixedLength + identityLength(token, certificates);
}

/** Bytes of a SYN-ACK payload without extensions, its tag included. */
export function synAckLength(token: Uint8Array, certificates: readonly Uint8Array[]): number {
  return synAckFixedLength + identityLength(token, certificates) + tagLength;
}

function identityLength(token: Uint8Array, certificates: readonly Uint8Array[]): number {
  let length = 2 + token.length + 1;
  for (const certificate of certificates) length += 2 + certificate.length;
  return length;
}

/** Writes the payload to the start of `into` and returns its length. Throws RangeError if `into` is too small or a field doesn't fit its width. */
export function encodeSyn(message: SynMessage, into: Uint8Array): number {
  const writer = new Writer(into);
  writer.put(magic);
  writer.u8(typeSyn);
  writer.u8(message.versionMin);
  writer.u8(message.versionMax);
  writer.u16(message.suites);
  writer.u16(message.flags);
  writer.u16(message.window);
  writer.put(expectLength(message.nonce, nonceLength));
  writeIdentity(writer, message.token, message.certificates);
  writer.put(message.extensions);
  return writer.length;
}

/** Writes the payload, with the message's tag as its last 16 bytes (zeros until it is known), and returns its length. Throws like `encodeSyn`. */
export function encodeSynAck(message: SynAckMessage, into: Uint8Array): number {
  const writer = new Writer(into);
  writer.put(magic);
  writer.u8(typeSynAck);
  writer.u8(message.version);
  writer.u8(message.suite);
  writer.u16(message.flags);
  writer.u16(message.window);
  writer.put(expectLength(message.nonce, nonceLength));
  writer.put(expectLength(message.serverAddress, addressLength));
  writer.u16(message.serverPort);
  writer.put(expectLength(message.clientAddress, addressLength));
  writer.u16(message.clientPort);
  writeIdentity(writer, message.token, message.certificates);
  writer.put(message.extensions);
  writer.put(expectLength(message.tag, tagLength));
  return writer.length;
}

function expectLength(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length !== length) throw new RangeError(`${bytes.length} bytes where ${length} belong`);
  return bytes;
}

function writeIdentity(writer: Writer, token: Uint8Array, certificates: readonly Uint8Array[]): void {
  writer.u16(token.length);
  writer.put(token);
  writer.u8(certificates.length);
  for (const certificate of certificates) {
    writer.u16(certificate.length);
    writer.put(certificate);
  }
}

/** Decodes a whole SYN payload; a reason if it is anything but one well-formed message of version 1. */
export function decodeSyn(payload: Uint8Array): SynMessage | Reason {
  const reader = new Reader(payload);
  if (!hasMagic(reader.take(magic.length))) return "message-malformed";
  if (reader.u8() !== typeSyn) return reader.failed ? "message-malformed" : "message-type";
  const versionMin = reader.u8();
  const versionMax = reader.u8();
  if (versionMin === 0 || versionMin > versionMax) return "message-malformed";
  if (versionMin > protocolVersion) return "version-unsupported";
  const suites = reader.u16();
  const flags = reader.u16();
  const window = reader.u16();
  const nonce = reader.take(nonceLength);
  const { token, certificates } = readIdentity(reader);
  const extensions = reader.take(reader.remaining);
  if (reader.failed || token.length === 0 || suites === 0) return "message-malformed";
  if (flags !== 0) return "flags-unknown";
  const refusal = checkExtensions(extensions);
  if (refusal !== undefined) return refusal;
  return { versionMin, versionMax, suites, flags, window, nonce, token, certificates, extensions };
}

/** Decodes a whole SYN-ACK payload; a reason if it is anything but one well-formed message of version 1. */
export function decodeSynAck(payload: Uint8Array): SynAckMessage | Reason {
  const reader = new Reader(payload);
  if (!hasMagic(reader.take(magic.length))) return "message-malformed";
  if (reader.u8() !== typeSynAck) return reader.failed ? "message-malformed" : "message-type";
  const version = reader.u8();
  if (version !== protocolVersion) return reader.failed ? "message-malformed" : "version-unsupported";
  const suite = reader.u8();
  const flags = reader.u16();
  const window = reader.u16();
  const nonce = reader.take(nonceLength);
  const serverAddress = reader.take(addressLength);
  const serverPort = reader.u16();
  const clientAddress = reader.take(addressLength);
  const clientPort = reader.u16();
  const { token, certificates } = readIdentity(reader);
  const extensions = reader.take(reader.remaining - tagLength);
  const tag = reader.take(tagLength);
  if (reader.failed || token.length === 0) return "message-malformed";
  if (suite === 0 || serverPort === 0 || clientPort === 0) return "message-malformed";
  if (flags !== 0) return "flags-unknown";
  const refusal = checkExtensions(extensions);
  if (refusal !== undefined) return refusal;
  return {
    version,
    suite,
    flags,
    window,
    nonce,
    serverAddress,
    serverPort,
    clientAddress,
    clientPort,
    token,
    certificates,
    extensions,
    tag,
  };
}

interface IdentityFields {
  readonly token: Uint8Array;
  readonly certificates: readonly Uint8Array[];
}

function readIdentity(reader: Reader): IdentityFields {
  const token = reader.take(reader.u16());
  const count = reader.u8();
  const certificates: Uint8Array[] = [];
  if (count > maximumCertificates) reader.failed = true;
  for (let i = 0; i < count && !reader.failed; i++) {
    const certificate = reader.take(reader.u16());
    if (certificate.length === 0) reader.failed = true;
    certificates.push(certificate);
  }
  return { token, certificates };
}

/** Types ascend, so that none comes twice. This version knows none: unknown ones are ignored, unless critical. */
function checkExtensions(extensions: Uint8Array): Reason | undefined {
  if (extensions.length === 0) return undefined;
  const reader = new Reader(extensions);
  let critical = false;
  for (let previous = -1; reader.remaining > 0;) {
    const type = reader.u16();
    reader.take(reader.u16());
    if (reader.failed || type <= previous) return "message-malformed";
    critical ||= type >= criticalExtension;
    previous = type;
  }
  return critical ? "extension-unknown" : undefined;
}
