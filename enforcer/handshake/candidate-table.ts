/**
 * Owns the server's half-open connections. Several candidates may share a 4-tuple: they differ in the client's ISN or in TH1, which
 * covers its nonce. Everything here came from a SYN that anybody may replay, so at each cap the oldest leaves and a new one is taken.
 */
import type { HmacKey, OwnToken, VerifiedIdentity } from "../identity/identity.ts";
import type { FlowKey } from "./flow-key.ts";
import type { FlowEntry } from "./flow-table.ts";
import { FlowTable } from "./flow-table.ts";
import type { Stopwatch } from "./outcome.ts";
import { ExpectedTag } from "./proofs.ts";

/** What a candidate's SYN-ACK was made of, so that each repetition has the same bytes, and the tag that its client must show. */
export class Answer extends ExpectedTag {
  readonly own: OwnToken;
  readonly nonce: Uint8Array;
  readonly window: number;
  /** Of the latest SYN-ACK; changes where the kernel answers by cookies. */
  serverIsn: number;

  constructor(
    parts: Pick<Answer, "own" | "nonce" | "window" | "tagS" | "serverIsn">,
    kC: HmacKey,
    th2: Uint8Array,
  ) {
    super(kC, th2, parts.tagS);
    this.own = parts.own;
    this.nonce = parts.nonce;
    this.window = parts.window;
    this.serverIsn = parts.serverIsn;
  }
}

export interface Candidate extends FlowEntry, Stopwatch {
  nextInBucket: this | undefined;
  older: this | undefined;
  newer: this | undefined;
  readonly clientIsn: number;
  readonly th1: Uint8Array;
  readonly peer: VerifiedIdentity;
  /** Greater than that of every candidate whose SYN the kernel got before this one's last. */
  order: number;
  answer: Answer | undefined;
}

export class CandidateTable {
  /** Candidates that made room for newer ones. */
  evicted = 0;
  private readonly table: FlowTable<Candidate>;
  private readonly perToken: number;
  private readonly perFlow: number;
  /** Of each token, in the order of their latest SYN or SYN-ACK. */
  private readonly byToken = new Map<VerifiedIdentity, Set<Candidate>>();

  constructor(limits: { readonly total: number; readonly perToken: number; readonly perFlow: number }) {
    this.table = new FlowTable(limits.total);
    this.perToken = limits.perToken;
    this.perFlow = limits.perFlow;
  }

  get size(): number {
    return this.table.size;
  }

  /** All candidates of a 4-tuple, the newest first. */
  *ofFlow(key: FlowKey): Generator<Candidate> {
    let candidate = this.table.find(key);
    while (candidate !== undefined) {
      const next = this.table.findNext(candidate);
      yield candidate;
      candidate = next;
    }
  }

  has(key: FlowKey): boolean {
    return this.table.find(key) !== undefined;
  }

  /** The candidate that this very SYN made before. */
  find(key: FlowKey, clientIsn: number, th1: Uint8Array): Candidate | undefined {
    for (const candidate of this.ofFlow(key))
      if (candidate.clientIsn === clientIsn && Buffer.compare(candidate.th1, th1) === 0) return candidate;
    return undefined;
  }

  /** The candidate that a SYN-ACK answers: the one with this ISN whose SYN the kernel got last. */
  answeredBy(key: FlowKey, clientIsn: number): Candidate | undefined {
    let latest: Candidate | undefined;
    for (const candidate of this.ofFlow(key))
      if (candidate.clientIsn === clientIsn && candidate.order > (latest?.order ?? -1)) latest = candidate;
    return latest;
  }

  /** Makes room and adds; false if the 4-tuple has its fill, since a SYN never replaces another's candidate. */
  add(candidate: Candidate): boolean {
    let sameFlow = 0;
    for (const known of this.ofFlow(candidate.key)) sameFlow += known === candidate ? 0 : 1;
    if (sameFlow >= this.perFlow) return false;
    this.makeRoom(candidate.peer);
    this.table.add(candidate);
    this.siblings(candidate.peer).add(candidate);
    return true;
  }

  touch(candidate: Candidate, nowMs: number): void {
    this.table.touch(candidate, nowMs);
    const siblings = this.siblings(candidate.peer);
    siblings.delete(candidate);
    siblings.add(candidate);
  }

  remove(candidate: Candidate): void {
    this.table.remove(candidate);
    const siblings = this.byToken.get(candidate.peer);
    siblings?.delete(candidate);
    if (siblings?.size === 0) this.byToken.delete(candidate.peer);
  }

  removeFlow(key: FlowKey): void {
    for (const candidate of this.ofFlow(key)) this.remove(candidate);
  }

  oldest(): Candidate | undefined {
    return this.table.oldest();
  }

  private siblings(peer: VerifiedIdentity): Set<Candidate> {
    const known = this.byToken.get(peer);
    if (known !== undefined) return known;
    const siblings = new Set<Candidate>();
    this.byToken.set(peer, siblings);
    return siblings;
  }

  private makeRoom(peer: VerifiedIdentity): void {
    const siblings = this.byToken.get(peer);
    if (siblings !== undefined && siblings.size >= this.perToken) this.evict(siblings.values().next().value);
    if (this.table.full) this.evict(this.table.oldest());
  }

  private evict(candidate: Candidate | undefined): void {
    if (candidate === undefined) return;
    this.remove(candidate);
    this.evicted += 1;
  }
}
