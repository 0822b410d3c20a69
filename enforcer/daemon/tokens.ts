/** Owns our PUs' tokens: minted when a PU comes, renewed in time, and all at once after new keys or a jump of the clock. */
import { cwtCodec } from "../identity/cwt.ts";
import type { OwnToken, Signer, TokenMinter, TokenSubject } from "../identity/identity.ts";
import { ClockWatch, RenewalSchedule } from "../identity/renewal.ts";
import type { Log } from "../log.ts";

/** Wall-clock steps below this are slewing. */
const CLOCK_TOLERANCE_MS = 1000;
/** Minted in one tick at most: 100 µs each, so that a reload with many PUs doesn't hold up the control socket. */
const MINTED_PER_TICK = 50;

export interface TokenClock {
  /** Monotonic, in milliseconds. */
  now(): number;
  wall(): number;
}

export interface TokensOptions {
  readonly signer: Signer;
  readonly clock: TokenClock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly onRenewed: (puId: string, token: OwnToken) => void;
  readonly log: Log;
}

export class Tokens {
  readonly #options: TokensOptions;
  readonly #schedule: RenewalSchedule;
  readonly #clockWatch: ClockWatch;
  readonly #subjects = new Map<string, TokenSubject>();
  readonly #failing = new Set<string>();
  #signer: Signer;
  #minter: TokenMinter;

  constructor(options: TokensOptions) {
    this.#options = options;
    this.#schedule = new RenewalSchedule(options.random);
    this.#clockWatch = new ClockWatch(CLOCK_TOLERANCE_MS, options.clock.now(), options.clock.wall());
    this.#signer = options.signer;
    this.#minter = cwtCodec.minter(options.signer);
  }

  /** PUs whose token couldn't be renewed. */
  get failing(): ReadonlySet<string> {
    return this.#failing;
  }

  get signer(): Signer {
    return this.#signer;
  }

  /** A PU's first token; from now on it is renewed until `remove`. Throws `OperationError` if the attributes don't fit. */
  add(subject: TokenSubject): OwnToken {
    const token = this.#mint(subject);
    this.#subjects.set(subject.puId, subject);
    return token;
  }

  remove(puId: string): void {
    this.#subjects.delete(puId);
    this.#failing.delete(puId);
    this.#schedule.remove(puId);
  }

  /** New keys: every token is minted anew, soon. */
  replaceSigner(signer: Signer): void {
    this.#signer = signer;
    this.#minter = cwtCodec.minter(signer);
    this.#schedule.renewAll();
  }

  /** Renews what is due. Call a few times a second. */
  tick(): void {
    const { clock, log } = this.#options;
    const jumpMs = this.#clockWatch.observe(clock.now(), clock.wall());
    if (jumpMs !== undefined) {
      log.error("the wall clock jumped: all tokens are minted anew", { jumpMs: Math.round(jumpMs) });
      this.#schedule.renewAll();
    }
    for (const puId of this.#schedule.due(clock.now()).slice(0, MINTED_PER_TICK)) this.#renew(puId);
  }

  #renew(puId: string): void {
    const subject = this.#subjects.get(puId);
    if (subject === undefined) {
      this.#schedule.remove(puId);
      return;
    }
    try {
      this.#options.onRenewed(puId, this.#mint(subject));
      this.#failing.delete(puId);
    } catch (error) {
      this.#schedule.failed(puId, this.#options.clock.now());
      this.#failing.add(puId);
      this.#options.log.error("token cannot be renewed", { pu: puId, problem: String(error) });
    }
  }

  #mint(subject: TokenSubject): OwnToken {
    const { clock } = this.#options;
    const token = this.#minter.mint(subject, clock.wall());
    this.#schedule.minted(subject.puId, token.expiresAtMs - token.issuedAtMs, clock.now());
    return token;
  }
}
