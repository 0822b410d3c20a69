/** Owns the one interface by which every part of the enforcer writes log lines; `telemetry/log.ts` implements it. */

/** What a line says besides its message. Never a key, a token or a payload. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Messages are short and constant, so that lines can be counted by them; what varies goes into the fields. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}
