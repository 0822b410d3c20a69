/** Owns the bounded map of the caches: at its size, what was used longest ago leaves. */
export class LruMap<Key, Value> {
  /** In order of use, the latest last (Map keeps the order of insertion). */
  readonly #entries = new Map<Key, Value>();
  readonly #limit: number;
  /** The key used last, which is in its place already: connections of one pair often come one after another. */
  #latest: Key | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: Key): Value | undefined {
    const value = this.#entries.get(key);
    if (value === undefined || key === this.#latest) return value;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    this.#latest = key;
    return value;
  }

  set(key: Key, value: Value): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    this.#latest = key;
    if (this.#entries.size > this.#limit) this.#deleteOldest();
  }

  delete(key: Key): void {
    this.#entries.delete(key);
  }

  deleteIf(isGone: (value: Value) => boolean): void {
    for (const [key, value] of this.#entries) if (isGone(value)) this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }

  #deleteOldest(): void {
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      return;
    }
  }
}
