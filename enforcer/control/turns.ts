/** Owns the order of work on one thing: what was asked first is done first, and things don't wait for one another. */

export class Turns {
  /** The last turn of each thing that has work under way. */
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs `work` after everything that was asked before about the same thing, whether that succeeded or not. */
  take<T>(name: string, work: () => T | Promise<T>): Promise<T> {
    const turn = (this.#last.get(name) ?? Promise.resolve()).then(work);
    const settled = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#last.set(name, settled);
    void settled.then(() => {
      if (this.#last.get(name) === settled) this.#last.delete(name);
    });
    return turn;
  }

  /** Resolves when all that was asked until now is done. */
  async settled(): Promise<void> {
    await Promise.all(this.#last.values());
  }
}
