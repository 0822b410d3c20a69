/** Both ends of a TCP connection as an attacker writes them: no kernel knows of these, and no enforcer made their messages. */
import {
  decodeSyn,
  decodeSynAck,
  encodeSyn,
  encodeSynAck,
  type SynAckMessage,
  type SynMessage,
} from "../../enforcer/handshake/messages.ts";
import { randomBytes, randomInt } from "node:crypto";
import { address } from "../handshake/fixtures.ts";
import { ACK, PSH, RST, SYN, type Segment, type SegmentFields } from "../handshake/segments.ts";
import type { Capture, Mallory } from "./mallory.ts";

/** MSS, and nothing that later segments would have to carry. */
const options = "020405b4";
const control = SYN | ACK | RST;

export const isSyn = ({ flags }: Segment): boolean => (flags & control) === SYN;
export const isSynAck = ({ flags }: Segment): boolean => (flags & control) === (SYN | ACK);

/** A client's first segment after the handshake: it has the tag. */
export const isTagged = (segment: Segment): boolean => tagOf(segment) !== undefined;

/** Tag C of a segment. */
export function tagOf(segment: Segment): Buffer | undefined {
  const at = segment.options.indexOf("fd147472");
  return at < 0 ? undefined : Buffer.from(segment.options.slice(at + 8, at + 40), "hex");
}

export interface Place {
  readonly address: string;
  readonly port: number;
}

/** Between two places, in this direction. */
export function between(from: Place, to: Place): (segment: Segment) => boolean {
  return (segment) =>
    segment.from === from.address &&
    segment.to === to.address &&
    segment.fromPort === from.port &&
    segment.toPort === to.port;
}

/** Dials from whatever address it likes; the answers never reach whoever really has it. */
export class ForgedClient {
  readonly from: Place;
  readonly to: Place;
  readonly isn = randomInt(2 ** 31);
  readonly #mallory: Mallory;
  readonly #answers: Capture;
  #stop: (() => void) | undefined;

  constructor(mallory: Mallory, from: Place, to: Place) {
    this.from = from;
    this.to = to;
    this.#mallory = mallory;
    this.#answers = mallory.steal(between(to, from));
  }

  syn(data: Uint8Array, withOptions = options): void {
    this.#send({ flags: SYN, seq: this.isn, options: withOptions, data: Buffer.from(data) });
  }

  synAck(): Promise<Segment> {
    return this.#answers.next(isSynAck);
  }

  /** The first segment after `answer`, with data, and with a tag if there is one. */
  say(answer: Pick<Segment, "seq">, word: string, tag?: Uint8Array): void {
    this.#send({
      flags: ACK | PSH,
      seq: this.isn + 1,
      ack: (answer.seq + 1) >>> 0,
      options: tag === undefined ? "" : `fd147472${Buffer.from(tag).toString("hex")}`,
      data: Buffer.from(word),
    });
  }

  /** In place of what was sent before. */
  #send(fields: Partial<SegmentFields>): void {
    const { from, to } = this;
    const ends = { from: from.address, fromPort: from.port, to: to.address, toPort: to.port };
    this.#stop?.();
    this.#stop = this.#mallory.insist([{ ...ends, ...fields }]);
  }
}

/** Answers in the name of whatever address it likes; what is sent there goes no further. */
export class ForgedServer {
  readonly place: Place;
  readonly isn = randomInt(2 ** 31);
  readonly #mallory: Mallory;
  readonly #dials: Capture;

  constructor(mallory: Mallory, place: Place, client: Place) {
    this.place = place;
    this.#mallory = mallory;
    this.#dials = mallory.steal(between(client, place));
  }

  syn(): Promise<Segment> {
    return this.#dials.next(isSyn);
  }

  /** The client's segment with the tag. */
  tagged(): Promise<Segment> {
    return this.#dials.next(isTagged);
  }

  /** Answers with this message, and goes on with `word`, if there is one, as if the client had agreed. */
  answer(syn: Segment, data: Uint8Array, word?: string): void {
    const { from, fromPort, to, toPort } = syn;
    const ack = (syn.seq + 1) >>> 0;
    const ends = { from: to, fromPort: toPort, to: from, toPort: fromPort, ack };
    const answer = { ...ends, flags: SYN | ACK, seq: this.isn, options, data: Buffer.from(data) };
    const more = { ...ends, flags: ACK | PSH, seq: this.isn + 1, data: Buffer.from(word ?? "") };
    this.#mallory.insist(word === undefined ? [answer] : [answer, more]);
  }
}

// ── Messages ──

export function synOf({ data }: Segment): SynMessage {
  const message = decodeSyn(data);
  if (typeof message === "string") throw new Error(`no SYN message: ${message}`);
  return message;
}

export function synAckOf({ data }: Segment): SynAckMessage {
  const message = decodeSynAck(data);
  if (typeof message === "string") throw new Error(`no SYN-ACK message: ${message}`);
  return message;
}

export function encodedSyn(message: Partial<SynMessage> & Pick<SynMessage, "token">): Buffer {
  const into = Buffer.alloc(4096);
  const whole = {
    versionMin: 1,
    versionMax: 1,
    suites: 1,
    flags: 0,
    window: 64_240,
    nonce: randomBytes(16),
    certificates: [],
    extensions: Buffer.alloc(0),
    ...message,
  };
  return into.subarray(0, encodeSyn(whole, into));
}

/** All but the token of an answer to `syn`, as an honest server would have it; the tag is zeros. */
export function synAckDefaults(syn: Segment): Omit<SynAckMessage, "token"> {
  return {
    version: 1,
    suite: 1,
    flags: 0,
    window: 64_240,
    nonce: randomBytes(16),
    serverAddress: address(syn.to),
    serverPort: syn.toPort,
    clientAddress: address(syn.from),
    clientPort: syn.fromPort,
    certificates: [],
    extensions: Buffer.alloc(0),
    tag: Buffer.alloc(16),
  };
}

export function encodedSynAck(message: SynAckMessage): Buffer {
  const into = Buffer.alloc(4096);
  return into.subarray(0, encodeSynAck(message, into));
}
