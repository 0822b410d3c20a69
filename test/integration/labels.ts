/** Large identities. */

/** `app.kubernetes.io/tagNN=valueNN`: 31 characters each, key and value together. */
export function manyLabels(count: number): Record<string, string> {
  const numbers = Array.from({ length: count }, (_, index) => String(index).padStart(2, "0"));
  return Object.fromEntries(numbers.map((number) => [`app.kubernetes.io/tag${number}`, `value${number}`]));
}
