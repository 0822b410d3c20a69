/** Owns the transcript hashes TH1 and TH2, which cover every byte of both payloads but tag S. Source: PROTOCOL.md. */
import { digestInput, digestLength, sha256 } from "../digest/digest.ts";
import { writeU32 } from "../packet/bytes.ts";
import { tagLength } from "./messages.ts";

/** TH1 = SHA-256(u32 length ‖ SYN payload); 32 bytes that the caller owns. */
export function hashSyn(synPayload: Uint8Array): Buffer {
  return hashLengthAndBytes(0, synPayload, synPayload.length);
}

/**
 * TH2 = SHA-256(TH1 ‖ u32 length ‖ SYN-ACK payload without its last 16 bytes). Takes the payload *with* these: a decoder
 * has accepted it, or the encoder just wrote it. 32 bytes that the caller owns.
 */
export function hashSynAck(th1: Uint8Array, synAckPayload: Uint8Array): Buffer {
  digestInput.set(th1, 0);
  return hashLengthAndBytes(digestLength, synAckPayload, synAckPayload.length - tagLength);
}

function hashLengthAndBytes(at: number, bytes: Uint8Array, length: number): Buffer {
  writeU32(digestInput, at, length);
  digestInput.set(length === bytes.length ? bytes : bytes.subarray(0, length), at + 4);
  return sha256(at + 4 + length);
}
