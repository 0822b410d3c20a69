/** Owns the one error class of operational failures (files, sockets, configuration, kernel) and what any error says. Hostile input is never one of these, but a `Reason`. */

/** What failed, for programs: stable, never renamed. */
export type OperationCode =
  | "usage"
  | "config-invalid"
  | "policy-invalid"
  | "keys-invalid"
  | "state-invalid"
  | "request-invalid"
  | "not-found"
  | "already-exists"
  | "permission"
  | "limit"
  | "timeout"
  | "unreachable"
  | "unsupported"
  | "io"
  | "internal";

/** An operation that could not be done. The message says what, where and the remedy; never a key, a token or a payload. */
export class OperationError extends Error {
  override readonly name = "OperationError";
  readonly code: OperationCode;
  /** What was being done, as words: `read policy file`. */
  readonly operation: string;

  constructor(code: OperationCode, operation: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.operation = operation;
  }
}

/** What went wrong, in the words of whatever was thrown. */
export function errorText(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
