/** Owns what control needs of the rest of the daemon: to have a PU judged, and not any more. */
import type { PuRecord } from "./pu-record.ts";

/** A PU with its open namespace. */
export interface HostedPu {
  readonly record: PuRecord;
  /** Control owns it and keeps it open until `detach` has settled. */
  readonly netnsFd: number;
}

/** Tests use a fake one; the daemon's joins tokens and the datapath's worker. */
export interface PuHost {
  /** Mints the PU's token and listens on its queues. Rejects with `OperationError`; nothing is left then. */
  attach(pu: HostedPu): Promise<void>;
  /** From now on the PU's rules are in place, or should be: keeps them so. Never throws. */
  guardRules(pu: HostedPu): void;
  /** Undoes `attach` and `guardRules`; resolves, whatever happens, once the descriptor may be closed. */
  detach(puId: string): Promise<void>;
  /**
   * Opens the PU's interface; the other PUs of its namespace (`staying`) don't have a moment without rules. Undefined: all of
   * the namespace is opened, whoever else its rules are for. Throws `Error`.
   */
  removeRules(pu: HostedPu, staying: readonly PuRecord[] | undefined): void;
}
