/** Owns the transcript hashes TH1 and TH2, which cover every byte of both payloads but tag S. Source: PROTOCOL.md. */
import { hash } from "node:crypto";
import { writeU32 } from "../packet/bytes.ts";
import { tagLength } from "./messages.ts";

const hashLength = 32;
/**
 * A payload, its length and TH1 before them. One-shot hashing of one buffer is the fastest that node:crypto has, and a
 * digest as a string is made 0.5 µs faster than one in a buffer of its own.
 */
const scratch = Buffer.alloc(hashLength + 4 + 65_535);

/** TH1 = SHA-256(u32 length ‖ SYN payload); 32 bytes that the caller owns. */
export function hashSyn(synPayload: Uint8Array): Buffer {
  return hashLengthAndBytes(0, synPayload, synPayload.length);
}

/**
 * TH2 = SHA-256(TH1 ‖ u32 length ‖ SYN-ACK payload without its last 16 bytes). Takes the payload *with* these: a decoder
 * has accepted it, or the encoder just wrote it. 32 bytes that the caller owns.
 */
export function hashSynAck(th1: Uint8Array, synAckPayload: Uint8Array): Buffer {
  scratch.set(th1, 0);
  return hashLengthAndBytes(hashLength, synAckPayload, synAckPayload.length - tagLength);
}

function hashLengthAndBytes(at: number, bytes: Uint8Array, length: number): Buffer {
  writeU32(scratch, at, length);
  scratch.set(length === bytes.length ? bytes : bytes.subarray(0, length), at + 4);
  return Buffer.from(hash("sha256", scratch.subarray(0, at + 4 + length), "binary"), "binary");
}
