/** Owns the tests of the transcript hashes. */
import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { hashSyn, hashSynAck } from "../../enforcer/handshake/transcript.ts";

function sha256(hex: string): string {
  return createHash("sha256").update(hex, "hex").digest("hex");
}

it("TH1 covers length and payload", () => {
  expect(hashSyn(Buffer.from("0102", "hex")).toString("hex")).toBe(sha256("000000020102"));
  expect(hashSyn(Buffer.alloc(65_535)).toString("hex")).toBe(sha256(`0000ffff${"00".repeat(65_535)}`));
});

it("TH2 covers TH1, length and payload, but not the last 16 bytes", () => {
  const th1 = hashSyn(Buffer.from("syn"));
  const payload = Buffer.concat([Buffer.from("beef", "hex"), Buffer.alloc(16, 0xaa)]);
  const expected = sha256(`${th1.toString("hex")}00000002beef`);
  expect(hashSynAck(th1, payload).toString("hex")).toBe(expected);
  payload.fill(0xbb, 2);
  expect(hashSynAck(th1, payload).toString("hex")).toBe(expected);
});

it("gives hashes that later calls leave alone", () => {
  const first = hashSyn(Buffer.from("first"));
  const kept = first.toString("hex");
  hashSyn(Buffer.from("second"));
  hashSynAck(first, Buffer.alloc(20));
  expect(first.toString("hex")).toBe(kept);
});
