/** Owns the names of tokens that came lately, found by their bytes: to compare them costs a fraction of hashing them. */
import type { Suite } from "./identity.ts";

interface Named {
  readonly suite: Suite;
  readonly token: Uint8Array;
  readonly certificates: readonly Uint8Array[];
  readonly name: string;
}

/** By the last byte of the token, which is one of a signature or tag: whoever chooses it pushes another's name out, no more. */
const PLACES = 256;

export class RecentNames {
  readonly #places = new Array<Named | undefined>(PLACES).fill(undefined);

  /** The name under which exactly this was remembered. */
  find(suite: Suite, token: Uint8Array, certificates: readonly Uint8Array[]): string | undefined {
    const named = this.#places[placeOf(token)];
    if (named?.suite !== suite || !isSame(named.token, token)) return undefined;
    if (named.certificates.length !== certificates.length) return undefined;
    const areSame = certificates.every((certificate, at) => isSame(named.certificates[at], certificate));
    return areSame ? named.name : undefined;
  }

  /** Copies the bytes. */
  remember(suite: Suite, token: Uint8Array, certificates: readonly Uint8Array[], name: string): void {
    this.#places[placeOf(token)] = {
      suite,
      token: Uint8Array.from(token),
      certificates: certificates.map((certificate) => Uint8Array.from(certificate)),
      name,
    };
  }
}

function placeOf(token: Uint8Array): number {
  return token[token.length - 1] ?? 0;
}

function isSame(one: Uint8Array | undefined, other: Uint8Array): boolean {
  return one !== undefined && Buffer.compare(one, other) === 0;
}
