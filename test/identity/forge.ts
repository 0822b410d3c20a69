/** Makes COSE objects that our own code refuses to make: an attacker's tools. Encodes with `cborg` itself. */
import { createHmac, type KeyObject, sign } from "node:crypto";
import { encode, rfc8949EncodeOptions } from "cborg";

const cbor = (value: unknown): Uint8Array => encode(value, rfc8949EncodeOptions);

interface Forgery {
  readonly header: ReadonlyMap<unknown, unknown>;
  readonly payload: Uint8Array;
  readonly context: string;
  /** A P-256 private key signs; bytes or a secret key MAC; undefined leaves 64 zeros. */
  readonly key: KeyObject | Uint8Array | undefined;
}

export function forge({ header, payload, context, key }: Forgery): Uint8Array {
  const protectedHeader = cbor(header);
  const isSigned = key !== undefined && "type" in key && key.type === "private";
  const structure = [isSigned ? "Signature1" : "MAC0", protectedHeader, Buffer.from(context), payload];
  return cbor([protectedHeader, new Map(), payload, prove(cbor(structure), key)]);
}

function prove(message: Uint8Array, key: Forgery["key"]): Uint8Array {
  if (key === undefined) return new Uint8Array(64);
  if ("type" in key && key.type === "private") {
    return sign("sha256", message, { key, dsaEncoding: "ieee-p1363" });
  }
  return createHmac("sha256", key).update(message).digest();
}

export { cbor as encodeLoosely };
