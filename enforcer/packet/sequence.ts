/** Owns arithmetic of TCP sequence numbers, which wrap at 2^32 (RFC 9293 §3.4). */

/** `sequence + count` modulo 2^32, unsigned. */
export function sequenceAdd(sequence: number, count: number): number {
  return (sequence + count) >>> 0;
}

/** Signed distance from `b` to `a`: positive if `a` is later, within 2^31. */
export function sequenceDifference(a: number, b: number): number {
  return (a - b) | 0;
}
