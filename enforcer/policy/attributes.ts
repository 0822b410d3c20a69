/** Owns attribute sets, the identity that policy sees: how they are built, compared and written as text. Source: design, "Identity and policy". */

/** key → values; keys sorted by code unit, each with at least one value, values sorted and distinct. Keys that begin with `@` are derived by the enforcer. */
export type Attributes = ReadonlyMap<string, readonly string[]>;

type AttributeSource = Iterable<readonly [string, string | readonly string[]]>;

/** Makes a canonical attribute set. A key that occurs twice gets the union of its values; a key without values is left out. */
export function makeAttributes(source: AttributeSource): Attributes {
  const collected = new Map<string, Set<string>>();
  for (const [key, value] of source) {
    const values = collected.get(key) ?? new Set<string>();
    for (const one of typeof value === "string" ? [value] : value) values.add(one);
    if (values.size > 0) collected.set(key, values);
  }
  const keys = [...collected.keys()].sort();
  return new Map(keys.map((key) => [key, [...(collected.get(key) ?? [])].sort()]));
}

/** As `makeAttributes`, from a plain object. */
export function attributesFromObject(
  source: Readonly<Record<string, string | readonly string[]>>,
): Attributes {
  return makeAttributes(Object.entries(source));
}

/** A text that two attribute sets share exactly if they are equal. For maps' keys, not for people. */
export function attributesIdentity(attributes: Attributes): string {
  return JSON.stringify([...attributes]);
}

/** `app=web,tier=front`; a key with several values appears once for each. For people. */
export function formatAttributes(attributes: Attributes): string {
  return [...attributes].flatMap(([key, values]) => values.map((value) => `${key}=${value}`)).join(",");
}

/** Reads `app=web,tier=front`. A key may repeat (a set) and a value may be empty; returns a message about the first error instead of throwing. */
export function parseAttributes(text: string): Attributes | { error: string } {
  const pairs: [string, string][] = [];
  for (const item of text.split(",")) {
    const equals = item.indexOf("=");
    if (equals <= 0) return { error: `"${item}" is not an attribute; write key=value, joined by commas` };
    pairs.push([item.slice(0, equals), item.slice(equals + 1)]);
  }
  return makeAttributes(pairs);
}
