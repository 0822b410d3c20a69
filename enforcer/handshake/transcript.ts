/** Owns the transcript hashes TH1 and TH2, which cover every byte of both payloads but tag S. Source: PROTOCOL.md. */

/** TH1 = SHA-256(u32 length ‖ SYN payload); 32 bytes that the caller owns. */
export function hashSyn(synPayload: Uint8Array): Buffer {
  throw new Error("not yet");
}

/** TH2 = SHA-256(TH1 ‖ u32 length ‖ SYN-ACK payload without its last 16 bytes); takes the payload *with* them; 32 bytes that the caller owns. */
export function hashSynAck(th1: Uint8Array, synAckPayload: Uint8Array): Buffer {
  throw new Error("not yet");
}
