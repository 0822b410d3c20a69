/**
 * Owns the form in which decisions travel and are kept: rows of numbers, with what repeats (identities, names of rules) beside them. A
 * record is made of a row only where somebody reads it. Plain data, which survives `postMessage`.
 */
import type { Attributes } from "../policy/attributes.ts";
import type { Reason } from "../reason.ts";
import type { FlowEnd, FlowRecord } from "./flow-record.ts";

/** One decision, and the wall-clock time it was made at. */
export interface TimedFlow {
  readonly timeMs: number;
  readonly record: FlowRecord;
}

/** A PU at the end of a flow. */
interface FlowParty {
  readonly id: string;
  readonly attributes: Attributes;
}

/** `count` rows; the arrays may be longer. */
export interface PackedFlows {
  readonly count: number;
  readonly numbers: Float64Array;
  /** Source and destination, 16 bytes each. */
  readonly addresses: Uint8Array;
  readonly texts: readonly string[];
  readonly parties: readonly FlowParty[];
}

/** What metrics need of a decision. */
export type FlowOutcome = Pick<FlowRecord, "verdict" | "reason" | "latencyUs">;

const at = {
  timeMs: 0,
  latencyUs: 1,
  sourcePort: 2,
  destinationPort: 3,
  /** Index in `verdicts`, and so on. */
  verdict: 4,
  proof: 5,
  reporter: 6,
  /** Index in `texts`; -1: none. */
  reason: 7,
  rule: 8,
  protocol: 9,
  /** Index in `parties`; -1: none. */
  source: 10,
  destination: 11,
} as const;
const rowNumbers = 12;
const rowBytes = 32;
const verdicts = ["allow", "deny"] as const;
const proofs = ["token", "address", "none"] as const;
const reporters = ["source", "destination"] as const;
const leastRows = 16;

/** Collects decisions. */
export class FlowPacker {
  #count = 0;
  #numbers = new Float64Array(leastRows * rowNumbers);
  #addresses = new Uint8Array(leastRows * rowBytes);
  readonly #texts = new Map<string, number>();
  readonly #parties = new Map<Attributes, FlowParty & { readonly index: number }>();
  #partyList: FlowParty[] = [];

  get count(): number {
    return this.#count;
  }

  add(record: FlowRecord, timeMs: number, latencyUs = record.latencyUs): void {
    if (this.#count * rowNumbers === this.#numbers.length) this.#grow();
    const { source, destination, rule } = record;
    const row = this.#count * rowNumbers;
    const numbers = this.#numbers;
    numbers[row + at.timeMs] = timeMs;
    numbers[row + at.latencyUs] = latencyUs ?? NaN;
    numbers[row + at.sourcePort] = source.port;
    numbers[row + at.destinationPort] = destination.port;
    numbers[row + at.verdict] = verdicts.indexOf(record.verdict);
    numbers[row + at.proof] = proofs.indexOf(record.proof);
    numbers[row + at.reporter] = reporters.indexOf(record.reporter);
    numbers[row + at.reason] = this.#text(record.reason);
    numbers[row + at.rule] = rule === undefined ? -1 : this.#text(rule);
    numbers[row + at.protocol] = this.#text(record.protocol);
    numbers[row + at.source] = this.#party(source);
    numbers[row + at.destination] = this.#party(destination);
    this.#addresses.set(source.address, this.#count * rowBytes);
    this.#addresses.set(destination.address, this.#count * rowBytes + 16);
    this.#count += 1;
  }

  /** What was added since the last call. */
  take(): PackedFlows {
    const flows = {
      count: this.#count,
      numbers: this.#numbers.slice(0, this.#count * rowNumbers),
      addresses: this.#addresses.slice(0, this.#count * rowBytes),
      texts: [...this.#texts.keys()],
      parties: this.#partyList,
    };
    this.#count = 0;
    this.#texts.clear();
    this.#parties.clear();
    this.#partyList = [];
    return flows;
  }

  #grow(): void {
    const { length } = this.#addresses;
    const numbers = new Float64Array(this.#numbers.length * 2);
    const addresses = new Uint8Array(length * 2);
    numbers.set(this.#numbers);
    addresses.set(this.#addresses);
    this.#numbers = numbers;
    this.#addresses = addresses;
  }

  #text(text: string): number {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    this.#texts.set(text, this.#texts.size);
    return this.#texts.size - 1;
  }

  #party({ id, attributes }: FlowEnd): number {
    if (id === undefined || attributes === undefined) return -1;
    const known = this.#parties.get(attributes);
    if (known?.id === id) return known.index;
    const index = this.#partyList.length;
    this.#parties.set(attributes, { id, attributes, index });
    this.#partyList.push({ id, attributes });
    return index;
  }
}

export function outcomeOf({ numbers, texts }: PackedFlows, index: number): FlowOutcome {
  const row = index * rowNumbers;
  const latencyUs = numbers[row + at.latencyUs] ?? NaN;
  return {
    verdict: pick(verdicts, numbers[row + at.verdict]),
    reason: pick(texts, numbers[row + at.reason]) as Reason,
    ...(Number.isNaN(latencyUs) ? {} : { latencyUs }),
  };
}

/** The record of a row, with addresses of its own. */
export function flowOf(flows: PackedFlows, index: number): TimedFlow {
  const { numbers, texts } = flows;
  const row = index * rowNumbers;
  const number = (field: number): number => numbers[row + field] ?? 0;
  const rule = texts[number(at.rule)];
  const { latencyUs, ...outcome } = outcomeOf(flows, index);
  const record: FlowRecord = {
    ...outcome,
    ...(rule === undefined ? {} : { rule }),
    proof: pick(proofs, number(at.proof)),
    reporter: pick(reporters, number(at.reporter)),
    protocol: pick(texts, number(at.protocol)),
    source: endOf(flows, number(at.source), index * rowBytes, number(at.sourcePort)),
    destination: endOf(flows, number(at.destination), index * rowBytes + 16, number(at.destinationPort)),
    ...(latencyUs === undefined ? {} : { latencyUs }),
  };
  return { timeMs: number(at.timeMs), record };
}

function endOf({ parties, addresses }: PackedFlows, party: number, address: number, port: number): FlowEnd {
  return { ...parties[party], address: addresses.slice(address, address + 16), port };
}

function pick<Value>(values: readonly Value[], index: number | undefined): Value {
  const value = values[index ?? -1];
  if (value === undefined) throw new RangeError("a row that was not packed here");
  return value;
}

/** Slots for `size` decisions, which are copied row by row, with identities that are equal kept once. */
export class PackedRing {
  readonly size: number;
  readonly #numbers: Float64Array;
  readonly #addresses: Uint8Array;
  readonly #texts: string[] = [];
  readonly #parties: FlowParty[] = [];
  readonly #known = new Map<string, FlowParty>();

  constructor(size: number) {
    this.size = size;
    this.#numbers = new Float64Array(size * rowNumbers);
    this.#addresses = new Uint8Array(size * rowBytes);
  }

  /** Puts row `index` of `flows` in `slot`. */
  put(slot: number, flows: PackedFlows, index: number): void {
    const from = index * rowNumbers;
    const row = slot * rowNumbers;
    this.#numbers.set(flows.numbers.subarray(from, from + rowNumbers), row);
    this.#addresses.set(flows.addresses.subarray(index * rowBytes, (index + 1) * rowBytes), slot * rowBytes);
    for (const [place, field] of [at.reason, at.rule, at.protocol].entries()) {
      const text = flows.texts[flows.numbers[from + field] ?? -1];
      if (text === undefined) continue;
      this.#texts[slot * 3 + place] = text;
      this.#numbers[row + field] = slot * 3 + place;
    }
    for (const [place, field] of [at.source, at.destination].entries()) {
      const party = flows.parties[flows.numbers[from + field] ?? -1];
      if (party === undefined) continue;
      this.#parties[slot * 2 + place] = this.#same(party);
      this.#numbers[row + field] = slot * 2 + place;
    }
  }

  /** The record of a row that is on its way here. */
  read(flows: PackedFlows, index: number): TimedFlow {
    return flowOf(flows, index);
  }

  get(slot: number): TimedFlow {
    const [numbers, addresses] = [this.#numbers, this.#addresses];
    return flowOf({ count: this.size, numbers, addresses, texts: this.#texts, parties: this.#parties }, slot);
  }

  /** One that is kept already, if it is equal. */
  #same(party: FlowParty): FlowParty {
    const known = this.#known.get(party.id);
    if (known !== undefined && areEqual(known.attributes, party.attributes)) return known;
    if (this.#known.size >= this.size) this.#known.clear();
    this.#known.set(party.id, party);
    return party;
  }
}

function areEqual(a: Attributes, b: Attributes): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [key, values] of a) {
    const others = b.get(key);
    if (others?.length !== values.length || values.some((value, index) => value !== others[index]))
      return false;
  }
  return true;
}
