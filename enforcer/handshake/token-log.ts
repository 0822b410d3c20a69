/** Owns the short list of own tokens that authorised connections refer to by number, so that a ring entry needs four bytes for one. */
import type { OwnToken } from "../identity/identity.ts";

const kept = 8;

export class TokenLog {
  private readonly tokens = new Map<number, OwnToken>();
  private newestId = -1;

  /** The token's number; a new one if it isn't the newest. */
  idOf(token: OwnToken): number {
    if (this.tokens.get(this.newestId) === token) return this.newestId;
    for (const [id, known] of this.tokens) if (known === token) return id;
    this.newestId += 1;
    this.tokens.set(this.newestId, token);
    this.tokens.delete(this.newestId - kept);
    return this.newestId;
  }

  /** Undefined once seven newer ones have come. */
  find(id: number): OwnToken | undefined {
    return this.tokens.get(id);
  }
}
