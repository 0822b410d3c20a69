/** Owns long work in short steps, so that who does it can do other things in between. */

/** Each step takes microseconds, a few milliseconds at most; the result comes with the last. */
export type Steps<T> = Generator<undefined, T>;

/** Does all of it at once. */
export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
