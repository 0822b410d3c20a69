/** Owns small numbers for attribute sets, so that caches compare numbers. Equal sets share one, whichever object they are. */
import { type Attributes, attributesIdentity } from "./attributes.ts";

export class AttributeInterner {
  #byObject = new WeakMap<Attributes, number>();
  readonly #byText = new Map<string, number>();

  /** How many distinct sets are known. */
  get size(): number {
    return this.#byText.size;
  }

  /** The number of this set; an object seen before costs one lookup. The set must not change afterwards. */
  idOf(attributes: Attributes): number {
    const known = this.#byObject.get(attributes);
    if (known !== undefined) return known;
    const text = attributesIdentity(attributes);
    const id = this.#byText.get(text) ?? this.#byText.size;
    this.#byText.set(text, id);
    this.#byObject.set(attributes, id);
    return id;
  }

  /** Forgets every number; what was keyed by them must be dropped too. */
  clear(): void {
    this.#byObject = new WeakMap();
    this.#byText.clear();
  }
}
