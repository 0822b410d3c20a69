/** Tables into the messages of one nf_tables batch. Source: linux/netfilter/nf_tables.h, nf_tables_compat.h, xt_NFQUEUE.h. */
import type { MessageWriter } from "../cursor.ts";
import { NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST } from "../message.ts";
import {
  bitwiseAttribute,
  chainAttribute,
  compareAttribute,
  compareOperatorNumber,
  ctAttribute,
  ctKeyNumber,
  dataAttribute,
  deviceAttribute,
  elementAttribute,
  elementListAttribute,
  expressionAttribute,
  familyNumber,
  hookAttribute,
  hooksOf,
  immediateAttribute,
  listElement,
  lookupAttribute,
  metaAttribute,
  metaKeyNumber,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFT_LOOKUP_F_INV,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  NFT_QUEUE_FLAG_BYPASS,
  NFT_QUEUE_FLAG_CPU_FANOUT,
  NFT_REG_1,
  NFT_REG_VERDICT,
  NFT_SET_ANONYMOUS,
  NFT_SET_CONSTANT,
  NFT_SET_ELEM_INTERVAL_END,
  NFT_SET_INTERVAL,
  payloadAttribute,
  payloadBaseNumber,
  policyNumber,
  queueAttribute,
  ruleAttribute,
  setAttribute,
  setDescription,
  setKeyTypeNumber,
  tableAttribute,
  targetAttribute,
  verdictAttribute,
  verdictCode,
} from "./constants.ts";
import type { AnonymousSet, Chain, Expression, Family, Hook, Rule, Table } from "./model.ts";
import { hasIntervals, toElements } from "./ranges.ts";

/** The `queue` expression, or for kernels without it the target NFQUEUE revision 3 through nft_compat. */
export type QueueForm = "native" | "compat";

type Queue = Expression & { kind: "queue" };

/** What a message of a batch is about, for errors. */
export interface BatchEntry {
  readonly sequence: number;
  /** Such as "inet trireme: rule 3 of chain in". */
  readonly subject: string;
  /** The rule's queue expression may be what the kernel doesn't know. */
  readonly usesQueue: boolean;
}

const subsystem = 10;
const setNamePattern = "__set%d";

/** Writes one batch: `begin`, then replacements and deletions, then `end`. The kernel applies all of it or nothing. */
export class BatchEncoder {
  readonly entries: BatchEntry[] = [];
  readonly #writer: MessageWriter;
  readonly #nextSequence: () => number;
  readonly #queueForm: QueueForm;
  #setId = 0;

  constructor(writer: MessageWriter, nextSequence: () => number, queueForm: QueueForm) {
    this.#writer = writer;
    this.#nextSequence = nextSequence;
    this.#queueForm = queueForm;
  }

  begin(): void {
    this.#boundary(NFNL_MSG_BATCH_BEGIN);
  }

  /** One acknowledgement, that of the last message, tells that all were taken; refusals come for every message. */
  end(): void {
    this.#writer.addFlags(NLM_F_ACK);
    this.#boundary(NFNL_MSG_BATCH_END);
  }

  /** The table as given, in place of one that may be there. */
  replace(table: Table): void {
    this.remove(table.family, table.name);
    this.#fill(table, NLM_F_CREATE);
  }

  /** The table as given. The batch fails with EEXIST where there is one. */
  create(table: Table): void {
    this.#fill(table, NLM_F_CREATE | NLM_F_EXCL);
  }

  #fill(table: Table, flags: number): void {
    this.#newTable(table.family, table.name, table.flags ?? 0, flags);
    for (const chain of table.chains) this.#newChain(table, chain);
    for (const chain of table.chains) {
      for (const [index, rule] of chain.rules.entries()) {
        this.#newRule(table, chain, rule, `rule ${index} of chain ${chain.name}`);
      }
    }
  }

  /** Without the table, too: it is made first if it isn't there, since deleting a missing one would fail the batch. */
  remove(family: Family, name: string): void {
    this.#newTable(family, name, 0, NLM_F_CREATE);
    this.#message(NFT_MSG_DELTABLE, 0, family, `${family} ${name}: table`, false, (writer) => {
      writer.string(tableAttribute.name, name);
    });
  }

  #boundary(type: number): void {
    this.#writer.begin(type, NLM_F_REQUEST, this.#register("batch", false));
    this.#writer.nfgen(0, subsystem);
    this.#writer.end();
  }

  #register(subject: string, usesQueue: boolean): number {
    const sequence = this.#nextSequence();
    this.entries.push({ sequence, subject, usesQueue });
    return sequence;
  }

  #message(
    type: number,
    flags: number,
    family: Family,
    subject: string,
    usesQueue: boolean,
    body: (writer: MessageWriter) => void,
  ): void {
    this.#writer.begin(type, NLM_F_REQUEST | flags, this.#register(subject, usesQueue));
    this.#writer.nfgen(familyNumber[family], 0);
    body(this.#writer);
    this.#writer.end();
  }

  #newTable(family: Family, name: string, tableFlags: number, flags: number): void {
    this.#message(NFT_MSG_NEWTABLE, flags, family, `${family} ${name}: table`, false, (writer) => {
      writer.string(tableAttribute.name, name);
      writer.u32be(tableAttribute.flags, tableFlags);
    });
  }

  #newChain({ family, name }: Table, chain: Chain): void {
    this.#message(
      NFT_MSG_NEWCHAIN,
      NLM_F_CREATE,
      family,
      `${family} ${name}: chain ${chain.name}`,
      false,
      (writer) => {
        writer.string(chainAttribute.table, name);
        writer.string(chainAttribute.name, chain.name);
        if (chain.hook !== undefined) encodeHook(writer, family, chain.hook);
      },
    );
  }

  #newRule({ family, name }: Table, chain: Chain, rule: Rule, subject: string): void {
    const setIds = rule.expressions.map((expression) =>
      expression.kind === "lookup"
        ? this.#newSet(family, name, expression.set, `${family} ${name}: set of ${subject}`)
        : 0,
    );
    const usesQueue = rule.expressions.some(({ kind }) => kind === "queue");
    const flags = NLM_F_CREATE | NLM_F_APPEND;
    this.#message(NFT_MSG_NEWRULE, flags, family, `${family} ${name}: ${subject}`, usesQueue, (writer) => {
      writer.string(ruleAttribute.table, name);
      writer.string(ruleAttribute.chain, chain.name);
      writer.nest(ruleAttribute.expressions, () => {
        for (const [index, expression] of rule.expressions.entries()) {
          encodeExpression(writer, expression, setIds[index] ?? 0, this.#queueForm);
        }
      });
    });
  }

  #newSet(family: Family, table: string, set: AnonymousSet, subject: string): number {
    const id = ++this.#setId;
    const elements = toElements(set);
    const interval = hasIntervals(set) ? NFT_SET_INTERVAL : 0;
    this.#message(NFT_MSG_NEWSET, NLM_F_CREATE, family, subject, false, (writer) => {
      writer.string(setAttribute.table, table);
      writer.string(setAttribute.name, setNamePattern);
      writer.u32be(setAttribute.flags, NFT_SET_ANONYMOUS | NFT_SET_CONSTANT | interval);
      writer.u32be(setAttribute.keyType, setKeyTypeNumber[set.keyType]);
      writer.u32be(setAttribute.keyLength, set.keyLength);
      writer.u32be(setAttribute.id, id);
      writer.bytes(setAttribute.userData, byteOrderNote(set));
      writer.nest(setAttribute.description, () => writer.u32be(setDescription.size, elements.length));
    });
    this.#message(NFT_MSG_NEWSETELEM, NLM_F_CREATE, family, subject, false, (writer) => {
      writer.string(elementListAttribute.table, table);
      writer.string(elementListAttribute.set, setNamePattern);
      writer.u32be(elementListAttribute.setId, id);
      writer.nest(elementListAttribute.elements, () => {
        for (const { key, end } of elements) encodeElement(writer, key, end);
      });
    });
    return id;
  }
}

/** The key's byte order as nft notes it for itself (1 host, 2 big-endian), without which it can't list the set. */
function byteOrderNote({ keyType }: AnonymousSet): Uint8Array {
  const isHostOrder = keyType === "ifname" || keyType === "mark";
  return Uint8Array.of(0, 4, isHostOrder ? 1 : 2, 0, 0, 0);
}

function encodeHook(writer: MessageWriter, family: Family, hook: Hook): void {
  const number = hooksOf(family)[hook.hook];
  if (number === undefined) throw new RangeError(`family ${family} has no hook ${hook.hook}`);
  writer.string(chainAttribute.type, hook.type);
  writer.u32be(chainAttribute.policy, policyNumber[hook.policy]);
  writer.nest(chainAttribute.hook, () => {
    writer.u32be(hookAttribute.number, number);
    writer.u32be(hookAttribute.priority, hook.priority >>> 0);
    encodeDevices(writer, hook.devices ?? []);
  });
}

function encodeDevices(writer: MessageWriter, devices: readonly string[]): void {
  const [first] = devices;
  if (first === undefined) return;
  if (devices.length === 1) {
    writer.string(hookAttribute.device, first);
    return;
  }
  writer.nest(hookAttribute.devices, () => {
    for (const device of devices) writer.string(deviceAttribute.name, device);
  });
}

function encodeElement(writer: MessageWriter, key: Uint8Array, end: boolean): void {
  writer.nest(listElement, () => {
    if (end) writer.u32be(elementAttribute.flags, NFT_SET_ELEM_INTERVAL_END);
    encodeValue(writer, elementAttribute.key, key);
  });
}

function encodeValue(writer: MessageWriter, type: number, value: Uint8Array): void {
  writer.nest(type, () => writer.bytes(dataAttribute.value, value));
}

/** One list item: the expression's name and its attributes. `setId` is for `lookup` only. */
export function encodeExpression(
  writer: MessageWriter,
  expression: Expression,
  setId: number,
  queueForm: QueueForm,
): void {
  const encoded =
    expression.kind === "queue" ? queueEncoding(expression, queueForm) : encoding(expression, setId);
  writer.nest(listElement, () => {
    writer.string(expressionAttribute.name, encoded.name);
    writer.nest(expressionAttribute.data, () => encoded.write(writer));
  });
}

interface Encoding {
  readonly name: string;
  readonly write: (writer: MessageWriter) => void;
}

function encoding(expression: Exclude<Expression, Queue>, setId: number): Encoding {
  switch (expression.kind) {
    case "metaLoad":
      return {
        name: "meta",
        write: registerUse(metaAttribute, "destination", metaKeyNumber[expression.key]),
      };
    case "metaSet":
      return { name: "meta", write: registerUse(metaAttribute, "source", metaKeyNumber[expression.key]) };
    case "ctLoad":
      return { name: "ct", write: registerUse(ctAttribute, "destination", ctKeyNumber[expression.key]) };
    case "ctSet":
      return { name: "ct", write: registerUse(ctAttribute, "source", ctKeyNumber[expression.key]) };
    case "payloadLoad":
      return { name: "payload", write: (writer) => writePayload(writer, expression) };
    case "bitwise":
      return { name: "bitwise", write: (writer) => writeBitwise(writer, expression) };
    case "compare":
      return { name: "cmp", write: (writer) => writeCompare(writer, expression) };
    case "immediate":
      return { name: "immediate", write: (writer) => writeImmediate(writer, expression.data) };
    case "lookup":
      return { name: "lookup", write: (writer) => writeLookup(writer, expression.invert, setId) };
    case "counter":
      return { name: "counter", write: () => undefined };
    case "verdict":
      return { name: "immediate", write: (writer) => writeVerdict(writer, expression) };
    case "unknown":
      throw new RangeError(
        `an expression that was read but isn't understood can't be written: ${expression.name}`,
      );
  }
}

function registerUse(
  attribute: { readonly key: number; readonly destination: number; readonly source: number },
  use: "destination" | "source",
  key: number,
): (writer: MessageWriter) => void {
  return (writer) => {
    writer.u32be(attribute.key, key);
    writer.u32be(attribute[use], NFT_REG_1);
  };
}

function writePayload(
  writer: MessageWriter,
  { base, offset, length }: Expression & { kind: "payloadLoad" },
): void {
  writer.u32be(payloadAttribute.destination, NFT_REG_1);
  writer.u32be(payloadAttribute.base, payloadBaseNumber[base]);
  writer.u32be(payloadAttribute.offset, offset);
  writer.u32be(payloadAttribute.length, length);
}

function writeBitwise(writer: MessageWriter, { mask, xor }: Expression & { kind: "bitwise" }): void {
  if (mask.length !== xor.length) throw new RangeError("mask and xor differ in length");
  writer.u32be(bitwiseAttribute.source, NFT_REG_1);
  writer.u32be(bitwiseAttribute.destination, NFT_REG_1);
  writer.u32be(bitwiseAttribute.operation, 0);
  writer.u32be(bitwiseAttribute.length, mask.length);
  encodeValue(writer, bitwiseAttribute.mask, mask);
  encodeValue(writer, bitwiseAttribute.xor, xor);
}

function writeCompare(writer: MessageWriter, { operator, data }: Expression & { kind: "compare" }): void {
  writer.u32be(compareAttribute.source, NFT_REG_1);
  writer.u32be(compareAttribute.operator, compareOperatorNumber[operator]);
  encodeValue(writer, compareAttribute.data, data);
}

function writeImmediate(writer: MessageWriter, data: Uint8Array): void {
  writer.u32be(immediateAttribute.destination, NFT_REG_1);
  encodeValue(writer, immediateAttribute.data, data);
}

function writeLookup(writer: MessageWriter, invert: boolean, setId: number): void {
  writer.u32be(lookupAttribute.source, NFT_REG_1);
  writer.string(lookupAttribute.set, setNamePattern);
  writer.u32be(lookupAttribute.setId, setId);
  if (invert) writer.u32be(lookupAttribute.flags, NFT_LOOKUP_F_INV);
}

function writeVerdict(writer: MessageWriter, expression: Expression & { kind: "verdict" }): void {
  writer.u32be(immediateAttribute.destination, NFT_REG_VERDICT);
  writer.nest(immediateAttribute.data, () => {
    writer.nest(dataAttribute.verdict, () => {
      writer.u32be(verdictAttribute.code, verdictCode[expression.verdict]);
      if ("chain" in expression) writer.string(verdictAttribute.chain, expression.chain);
    });
  });
}

function queueEncoding(queue: Queue, form: QueueForm): Encoding {
  const flags = (queue.bypass ? NFT_QUEUE_FLAG_BYPASS : 0) | (queue.fanout ? NFT_QUEUE_FLAG_CPU_FANOUT : 0);
  return form === "native"
    ? { name: "queue", write: (writer) => writeNativeQueue(writer, queue, flags) }
    : { name: "target", write: (writer) => writeCompatQueue(writer, queue, flags) };
}

function writeNativeQueue(writer: MessageWriter, { number, total }: Queue, flags: number): void {
  writer.u16be(queueAttribute.number, number);
  writer.u16be(queueAttribute.total, total);
  if (flags !== 0) writer.u16be(queueAttribute.flags, flags);
}

/** struct xt_NFQ_info_v3 in the host's order, padded to XT_ALIGN (8 bytes); its flags have the native ones' values. */
function writeCompatQueue(writer: MessageWriter, { number, total }: Queue, flags: number): void {
  const info = new Uint8Array(8);
  const view = new DataView(info.buffer);
  view.setUint16(0, number, true);
  view.setUint16(2, total, true);
  view.setUint16(4, flags, true);
  writer.string(targetAttribute.name, "NFQUEUE");
  writer.u32be(targetAttribute.revision, 3);
  writer.bytes(targetAttribute.info, info);
}
