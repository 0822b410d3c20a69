/** What the kernel dumps back into the model. Source: linux/netfilter/nf_tables.h, nf_tables_compat.h, xt_NFQUEUE.h. */
import { Attributes, required, viewOf } from "../cursor.ts";
import { type Decoded, decoding } from "../message.ts";
import {
  bitwiseAttribute,
  chainAttribute,
  compareAttribute,
  compareOperatorNumber,
  counterAttribute,
  ctAttribute,
  ctKeyNumber,
  dataAttribute,
  elementAttribute,
  elementListAttribute,
  expressionAttribute,
  familyNumber,
  generationAttribute,
  hookAttribute,
  hooksOf,
  immediateAttribute,
  lookupAttribute,
  metaAttribute,
  metaKeyNumber,
  nameOf,
  NFT_LOOKUP_F_INV,
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
  setKeyTypeNumber,
  tableAttribute,
  targetAttribute,
  verdictAttribute,
  verdictCode,
} from "./constants.ts";
import type { AnonymousSet, CompareOperator, Expression, Family, Hook } from "./model.ts";
import { fromIntervalElements, normalRanges, type SetElement } from "./ranges.ts";

/** Sets of the table by name; what isn't here makes a lookup `unknown`. */
export type SetsByName = ReadonlyMap<string, AnonymousSet>;

export interface FoundTable {
  readonly family: Family | undefined;
  readonly name: string;
  readonly flags: number;
}

export interface FoundChain {
  readonly family: Family | undefined;
  readonly table: string;
  readonly name: string;
  readonly hook: Hook | undefined;
}

export interface FoundRule {
  readonly family: Family | undefined;
  readonly table: string;
  readonly chain: string;
  readonly expressions: readonly Expression[];
}

/** A set without its elements. `anonymous`: it is one that the model can express. */
export interface FoundSet {
  readonly family: Family | undefined;
  readonly table: string;
  readonly name: string;
  readonly anonymous: boolean;
  readonly interval: boolean;
  readonly keyType: AnonymousSet["keyType"];
  readonly keyLength: number;
}

/** The payload of an NFT_MSG_NEWGEN: the number of the rule set's state. */
export function decodeGeneration(payload: Uint8Array): Decoded<number> {
  return decoding(() => required(attributesOf(payload).u32be(generationAttribute.id), "generation"));
}

export function decodeTable(payload: Uint8Array): Decoded<FoundTable> {
  return decoding(() => {
    const attributes = attributesOf(payload);
    const flags = attributes.u32be(tableAttribute.flags) ?? 0;
    return { family: familyOf(payload), name: attributes.requiredString(tableAttribute.name), flags };
  });
}

export function decodeChain(payload: Uint8Array): Decoded<FoundChain> {
  return decoding(() => {
    const attributes = attributesOf(payload);
    const family = familyOf(payload);
    return {
      family,
      table: attributes.requiredString(chainAttribute.table),
      name: attributes.requiredString(chainAttribute.name),
      hook: decodeHook(attributes, family ?? "inet"),
    };
  });
}

export function decodeRule(payload: Uint8Array, sets: SetsByName): Decoded<FoundRule> {
  return decoding(() => {
    const attributes = attributesOf(payload);
    const expressions = attributes.requiredNests(ruleAttribute.expressions);
    return {
      family: familyOf(payload),
      table: attributes.requiredString(ruleAttribute.table),
      chain: attributes.requiredString(ruleAttribute.chain),
      expressions: expressions.map((item) => decodeExpression(item, sets)),
    };
  });
}

export function decodeSet(payload: Uint8Array): Decoded<FoundSet> {
  return decoding(() => {
    const attributes = attributesOf(payload);
    const flags = attributes.u32be(setAttribute.flags) ?? 0;
    const constant = NFT_SET_ANONYMOUS | NFT_SET_CONSTANT;
    return {
      family: familyOf(payload),
      table: attributes.requiredString(setAttribute.table),
      name: attributes.requiredString(setAttribute.name),
      anonymous: (flags & ~NFT_SET_INTERVAL) === constant,
      interval: (flags & NFT_SET_INTERVAL) !== 0,
      keyType: nameOf(setKeyTypeNumber, attributes.u32be(setAttribute.keyType)) ?? "other",
      keyLength: required(attributes.u32be(setAttribute.keyLength), "key length"),
    };
  });
}

/** The elements that one NFT_MSG_NEWSETELEM carries; a set may take several. */
export function decodeElements(payload: Uint8Array): Decoded<SetElement[]> {
  return decoding(() =>
    attributesOf(payload)
      .requiredNests(elementListAttribute.elements)
      .map((element) => {
        const flags = element.u32be(elementAttribute.flags) ?? 0;
        const key = element.requiredNested(elementAttribute.key).requiredBytes(dataAttribute.value);
        return { key, end: (flags & NFT_SET_ELEM_INTERVAL_END) !== 0 };
      }),
  );
}

/** The set that these elements make, or undefined if they make none. */
export function assembleSet(found: FoundSet, elements: readonly SetElement[]): AnonymousSet | undefined {
  const { keyType, keyLength, interval } = found;
  if (elements.some(({ key }) => key.length !== keyLength)) return undefined;
  const ranges = interval
    ? fromIntervalElements(elements, keyLength)
    : normalRanges(elements.map(({ key }) => ({ from: key, to: key })));
  return ranges === undefined ? undefined : { keyType, keyLength, ranges };
}

/** Behind struct nfgenmsg. */
function attributesOf(payload: Uint8Array): Attributes {
  required(payload[3], "nfgenmsg");
  return new Attributes(payload.subarray(4));
}

function familyOf(payload: Uint8Array): Family | undefined {
  return nameOf(familyNumber, payload[0]);
}

function decodeHook(chain: Attributes, family: Family): Hook | undefined {
  const hook = chain.nested(chainAttribute.hook);
  if (hook === undefined) return undefined;
  const devices = decodeDevices(hook);
  return {
    type: required(hookType(chain.requiredString(chainAttribute.type)), "known chain type"),
    hook: required(nameOf(hooksOf(family), hook.u32be(hookAttribute.number)), "known hook"),
    priority: required(hook.u32be(hookAttribute.priority), "priority") | 0,
    policy: required(nameOf(policyNumber, chain.u32be(chainAttribute.policy)), "policy"),
    ...(devices.length > 0 ? { devices } : {}),
  };
}

function hookType(text: string): Hook["type"] | undefined {
  return text === "filter" || text === "nat" || text === "route" ? text : undefined;
}

/** A kernel tells one device twice: alone and as a list. */
function decodeDevices(hook: Attributes): string[] {
  const one = hook.string(hookAttribute.device);
  const list = hook
    .list(hookAttribute.devices)
    .map((name) => Buffer.from(name).toString().replace(/\0.*$/s, ""));
  return list.length > 0 || one === undefined ? list : [one];
}

function decodeExpression(item: Attributes, sets: SetsByName): Expression {
  const name = item.requiredString(expressionAttribute.name);
  const attributes = item.nested(expressionAttribute.data) ?? new Attributes(new Uint8Array(0));
  const known = decoders[name]?.(attributes, sets);
  if (known !== undefined) return known;
  return { kind: "unknown", name, data: item.bytes(expressionAttribute.data)?.slice() ?? new Uint8Array(0) };
}

type Decoder = (attributes: Attributes, sets: SetsByName) => Expression | undefined;

/** Each returns undefined for a use of the expression that the model doesn't have. */
const decoders: Readonly<Record<string, Decoder>> = {
  meta: (attributes) => {
    const key = nameOf(metaKeyNumber, attributes.u32be(metaAttribute.key));
    if (key === undefined) return undefined;
    if (isRegister1(attributes, metaAttribute.source)) return { kind: "metaSet", key };
    return isRegister1(attributes, metaAttribute.destination) ? { kind: "metaLoad", key } : undefined;
  },
  ct: (attributes) => {
    const key = nameOf(ctKeyNumber, attributes.u32be(ctAttribute.key));
    if (key === undefined || attributes.bytes(ctAttribute.direction) !== undefined) return undefined;
    if (isRegister1(attributes, ctAttribute.source)) return { kind: "ctSet", key };
    return isRegister1(attributes, ctAttribute.destination) ? { kind: "ctLoad", key } : undefined;
  },
  payload: decodePayload,
  bitwise: decodeBitwise,
  cmp: decodeCompare,
  immediate: decodeImmediate,
  lookup: decodeLookup,
  counter: (attributes) => ({
    kind: "counter",
    packets: attributes.u64be(counterAttribute.packets) ?? 0n,
    bytes: attributes.u64be(counterAttribute.bytes) ?? 0n,
  }),
  queue: (attributes) => {
    const number = attributes.u16be(queueAttribute.number);
    if (number === undefined) return undefined;
    return queue(
      number,
      attributes.u16be(queueAttribute.total) ?? 1,
      attributes.u16be(queueAttribute.flags) ?? 0,
    );
  },
  target: decodeTarget,
};

function isRegister1(attributes: Attributes, type: number): boolean {
  return attributes.u32be(type) === NFT_REG_1;
}

/** Without its destination it is a write into the packet, which the model doesn't have. */
function decodePayload(attributes: Attributes): Expression | undefined {
  const base = nameOf(payloadBaseNumber, attributes.u32be(payloadAttribute.base));
  const offset = attributes.u32be(payloadAttribute.offset);
  const length = attributes.u32be(payloadAttribute.length);
  if (!isRegister1(attributes, payloadAttribute.destination)) return undefined;
  if (base === undefined || offset === undefined || length === undefined) return undefined;
  return { kind: "payloadLoad", base, offset, length };
}

function decodeBitwise(attributes: Attributes): Expression | undefined {
  if (!isRegister1(attributes, bitwiseAttribute.source)) return undefined;
  if (!isRegister1(attributes, bitwiseAttribute.destination)) return undefined;
  if ((attributes.u32be(bitwiseAttribute.operation) ?? 0) !== 0) return undefined;
  const mask = attributes.nested(bitwiseAttribute.mask)?.bytes(dataAttribute.value);
  const xor = attributes.nested(bitwiseAttribute.xor)?.bytes(dataAttribute.value);
  if (mask === undefined || xor === undefined || mask.length !== xor.length) return undefined;
  if (attributes.u32be(bitwiseAttribute.length) !== mask.length) return undefined;
  return { kind: "bitwise", mask: mask.slice(), xor: xor.slice() };
}

function decodeCompare(attributes: Attributes): Expression | undefined {
  const operator: CompareOperator | undefined = nameOf(
    compareOperatorNumber,
    attributes.u32be(compareAttribute.operator),
  );
  const data = attributes.nested(compareAttribute.data)?.bytes(dataAttribute.value);
  if (!isRegister1(attributes, compareAttribute.source) || operator === undefined || data === undefined)
    return undefined;
  return { kind: "compare", operator, data: data.slice() };
}

function decodeImmediate(attributes: Attributes): Expression | undefined {
  const data = attributes.requiredNested(immediateAttribute.data);
  if (attributes.u32be(immediateAttribute.destination) === NFT_REG_VERDICT) {
    return decodeVerdict(data.requiredNested(dataAttribute.verdict));
  }
  const value = data.bytes(dataAttribute.value);
  if (!isRegister1(attributes, immediateAttribute.destination) || value === undefined) return undefined;
  return { kind: "immediate", data: value.slice() };
}

function decodeVerdict(attributes: Attributes): Expression | undefined {
  const verdict = nameOf(verdictCode, attributes.u32be(verdictAttribute.code));
  if (verdict === undefined) return undefined;
  if (verdict !== "jump" && verdict !== "goto") return { kind: "verdict", verdict };
  return { kind: "verdict", verdict, chain: attributes.requiredString(verdictAttribute.chain) };
}

function decodeLookup(attributes: Attributes, sets: SetsByName): Expression | undefined {
  const set = sets.get(attributes.requiredString(lookupAttribute.set));
  if (set === undefined || !isRegister1(attributes, lookupAttribute.source)) return undefined;
  return {
    kind: "lookup",
    set,
    invert: ((attributes.u32be(lookupAttribute.flags) ?? 0) & NFT_LOOKUP_F_INV) !== 0,
  };
}

/** Only NFQUEUE revision 3, as `writeCompatQueue` writes it. */
function decodeTarget(attributes: Attributes): Expression | undefined {
  const info = attributes.bytes(targetAttribute.info);
  if (
    attributes.string(targetAttribute.name) !== "NFQUEUE" ||
    attributes.u32be(targetAttribute.revision) !== 3
  ) {
    return undefined;
  }
  if (info?.length !== 8) return undefined;
  const view = viewOf(info);
  return queue(view.getUint16(0, true), view.getUint16(2, true), view.getUint16(4, true));
}

function queue(number: number, total: number, flags: number): Expression | undefined {
  if ((flags & ~(NFT_QUEUE_FLAG_BYPASS | NFT_QUEUE_FLAG_CPU_FANOUT)) !== 0) return undefined;
  return {
    kind: "queue",
    number,
    total,
    bypass: (flags & NFT_QUEUE_FLAG_BYPASS) !== 0,
    fanout: (flags & NFT_QUEUE_FLAG_CPU_FANOUT) !== 0,
  };
}
