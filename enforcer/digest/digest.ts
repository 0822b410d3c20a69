/** SHA-256 and HMAC-SHA-256 (FIPS 180-4, RFC 2104) as each packet of a handshake needs them: little around the hash. Source: digest.c. */
import { fileURLToPath } from "node:url";
import { loadNativeFromBytes, openNative } from "../../netlink/addon.ts";

interface Native {
  open(workspace: Uint8Array): void;
  sha256(length: number): void;
  hmacSha256(length: number): void;
}

export const digestLength = 32;
const blockLength = 64;
const keyAt = 64;
const inputAt = keyAt + 2 * blockLength;
const maximumInput = 65_536 + digestLength;

const workspace = Buffer.alloc(inputAt + maximumInput);
const file = "./prebuilds/linux-x64/digest.node";

let embedded: Uint8Array | undefined;
let native: Native | undefined;

/** What is to be digested goes here, from its beginning: 65,568 bytes, this thread's own. A digest leaves them as they are. */
export const digestInput: Buffer = workspace.subarray(inputAt);

/** For single binaries: the native code's bytes, used in place of its file. Call it, in each thread, before anything else here. */
export function setDigestBytes(bytes: Uint8Array): void {
  embedded = bytes;
}

/** Loads the native code, which the first digest would do otherwise: where it can't be loaded, a thread shall not start. Throws an Error. */
export function loadDigests(): void {
  native ??= load();
}

/** The first `size` (at most 32) bytes of the SHA-256 of `length` bytes of `digestInput`; the caller's own. */
export function sha256(length: number, size = digestLength): Buffer {
  (native ??= load()).sha256(length);
  return output(size);
}

/** The first `size` (at most 32) bytes of the HMAC of `length` bytes of `digestInput`; the caller's own. */
export function hmacSha256(key: HmacBlocks, length: number, size = digestLength): Buffer {
  native ??= load();
  workspace.set(key.bytes, keyAt);
  native.hmacSha256(length);
  return output(size);
}

function output(size: number): Buffer {
  const digest = Buffer.allocUnsafe(size);
  workspace.copy(digest, 0, 0, size);
  return digest;
}

/** What both hashes of an HMAC begin with: the key under two masks. */
export class HmacBlocks {
  readonly bytes = new Uint8Array(2 * blockLength);

  /** Throws a RangeError for a key that is longer than a block (64 bytes). */
  constructor(key: Uint8Array) {
    if (key.length > blockLength) throw new RangeError("an HMAC key is longer than a block");
    for (let at = 0; at < blockLength; at += 1) {
      this.bytes[at] = (key[at] ?? 0) ^ 0x36;
      this.bytes[blockLength + at] = (key[at] ?? 0) ^ 0x5c;
    }
  }
}

function load(): Native {
  const loaded = (
    embedded === undefined ? loadFile() : loadNativeFromBytes(embedded, "/proc/thread-self/fd")
  ) as Native;
  loaded.open(workspace);
  return loaded;
}

function loadFile(): unknown {
  try {
    return openNative(fileURLToPath(new URL(file, import.meta.url)));
  } catch (error) {
    throw new Error("digest.node isn't built or doesn't fit this node: make", { cause: error });
  }
}
