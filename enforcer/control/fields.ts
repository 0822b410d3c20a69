/** Owns the readers of untrusted JSON objects: each field is checked by name, and what is wrong becomes a value. */
import type { ControlError, Decoded } from "./messages.ts";

/** The longest name, in bytes. */
export const NAME_BYTES = 256;
/** The longest path, in bytes (PATH_MAX without its NUL). */
export const PATH_BYTES = 4095;

/** Thrown and caught inside the decoders only. */
export class Refused extends Error {
  readonly error: ControlError;
  constructor(error: ControlError) {
    super(error.message);
    this.error = error;
  }
}

/** Runs a decoder; what it refuses comes back as a value. */
export function decoding<T>(decode: () => T): Decoded<T> {
  try {
    return { ok: true, value: decode() };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, error: error.error };
    throw error;
  }
}

/** A message that isn't as the protocol says. */
export function malformed(message: string): Refused {
  return new Refused({ code: 100, message });
}

/** A message that asks for what a configuration must not ask for. */
export function wrongConfig(message: string): Refused {
  return new Refused({ code: 7, message });
}

/** A value as it may appear in a message: JSON, cut. */
export function quote(value: unknown): string {
  return (value === undefined ? "undefined" : JSON.stringify(value)).slice(0, 80);
}

/** `value` if it is a string of at most `maxBytes`. */
export function textOf(value: unknown, path: string, maxBytes: number): string {
  if (typeof value !== "string") throw malformed(`${path}: not a string`);
  if (Buffer.byteLength(value) > maxBytes) throw malformed(`${path}: longer than ${maxBytes} bytes`);
  return value;
}

/** Reads one object's fields; every reader refuses what it doesn't expect, by name. For use inside `decoding`. */
export class Fields {
  readonly raw: Record<string, unknown>;
  readonly #path: string;

  constructor(raw: Record<string, unknown>, path: string) {
    this.raw = raw;
    this.#path = path;
  }

  /** The fields of `value`, which must be an object. */
  static of(value: unknown, path: string): Fields {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw malformed(`${path}: not an object`);
    return new Fields(value as Record<string, unknown>, path);
  }

  #at(name: string): string {
    return `${this.#path}.${name}`;
  }

  /** A string of any length up to `maxBytes` of UTF-8. */
  text(name: string, maxBytes: number): string {
    return textOf(this.raw[name], this.#at(name), maxBytes);
  }

  /** A string that isn't empty and has no control characters. */
  name(name: string): string {
    const value = this.text(name, NAME_BYTES);
    if (value === "" || /\p{Cc}/u.test(value))
      throw malformed(`${this.#at(name)}: empty, or with control characters`);
    return value;
  }

  /** An absolute path. */
  path(name: string): string {
    const value = this.text(name, PATH_BYTES);
    if (!value.startsWith("/") || value.includes("\0"))
      throw malformed(`${this.#at(name)}: not an absolute path`);
    return value;
  }

  /** 16 hex digits. */
  puId(name: string): string {
    const value = this.text(name, 16);
    if (!/^[0-9a-f]{16}$/.test(value)) throw malformed(`${this.#at(name)}: not 16 hex digits`);
    return value;
  }

  /** A whole number of up to 64 bits, in decimal digits. */
  decimal(name: string): string {
    const value = this.text(name, 20);
    if (!/^(0|[1-9][0-9]*)$/.test(value) || BigInt(value) > 0xffff_ffff_ffff_ffffn) {
      throw malformed(`${this.#at(name)}: not a number of 64 bits in decimal`);
    }
    return value;
  }

  /** A whole number between both bounds, inclusive. */
  integer(name: string, least: number, most: number): number {
    const value = this.raw[name];
    if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
      throw malformed(`${this.#at(name)}: not a whole number from ${least} to ${most}`);
    }
    return value;
  }

  boolean(name: string): boolean {
    const value = this.raw[name];
    if (typeof value !== "boolean") throw malformed(`${this.#at(name)}: not true or false`);
    return value;
  }

  oneOf<const T extends string>(name: string, choices: readonly T[]): T {
    const value = this.text(name, NAME_BYTES);
    const choice = choices.find((candidate) => candidate === value);
    if (choice === undefined) throw malformed(`${this.#at(name)}: not one of ${choices.join(", ")}`);
    return choice;
  }

  object(name: string): Fields {
    return Fields.of(this.raw[name], this.#at(name));
  }

  list<T>(name: string, most: number, read: (item: unknown, path: string) => T): T[] {
    const value = this.raw[name];
    if (!Array.isArray(value)) throw malformed(`${this.#at(name)}: not an array`);
    if (value.length > most) throw malformed(`${this.#at(name)}: more than ${most} items`);
    return value.map((item: unknown, index) => read(item, `${this.#at(name)}[${index}]`));
  }

  /** `undefined` where the field is absent; what `read` says where it is there, null included. */
  optional<T>(name: string, read: () => T): T | undefined {
    return this.raw[name] === undefined ? undefined : read();
  }
}
