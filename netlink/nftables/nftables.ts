/** Replaces, reads and deletes whole tables in one namespace. Source: nfnetlink batches, linux/netfilter/nf_tables.h. */
import { MessageWriter } from "../cursor.ts";
import { NetlinkError } from "../error.ts";
import { EAGAIN, EEXIST, ENOENT, ETIMEDOUT } from "../errno.ts";
import {
  type Acknowledgement,
  type Decoded,
  decodeAcknowledgement,
  type Message,
  NLMSG_ERROR,
} from "../message.ts";
import { NETLINK_NETFILTER, NetlinkSocket, type SocketOptions, understood } from "../socket.ts";
import {
  chainAttribute,
  elementListAttribute,
  familyNumber,
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETGEN,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSET,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  NFT_MSG_NEWGEN,
  ruleAttribute,
  setAttribute,
  tableAttribute,
} from "./constants.ts";
import {
  assembleSet,
  decodeChain,
  decodeElements,
  decodeGeneration,
  decodeRule,
  decodeSet,
  decodeTable,
  type FoundSet,
} from "./decode.ts";
import { BatchEncoder, type BatchEntry, type QueueForm } from "./encode.ts";
import type { AnonymousSet, Chain, Family, Table } from "./model.ts";

const readAttempts = 5;

/** What "auto" has found this kernel to take: a form that is refused costs a transaction that is undone, 7 to 16 ms. */
let formThatWorked: QueueForm | undefined;

/** Which table. */
export interface TableName {
  readonly family: Family;
  readonly name: string;
}

export class Nftables {
  readonly #socket: NetlinkSocket;
  readonly #timeoutMs: number;

  static open(options: SocketOptions = {}): Nftables {
    return new Nftables(options);
  }

  private constructor(options: SocketOptions) {
    this.#timeoutMs = options.timeoutMs ?? 2000;
    this.#socket = new NetlinkSocket(NETLINK_NETFILTER, options);
  }

  close(): void {
    this.#socket.close();
  }

  /**
   * Puts these tables, all in one batch, in place of those of the same names, which need not exist: packets meet the old
   * ones or the new ones. "auto" tries the native queue expression, then, if the kernel hasn't got it, the compat one, and
   * keeps to it in this process. Returns which it was. Throws NetlinkError; then nothing has changed.
   */
  replace(tables: readonly Table[], queueForm: QueueForm | "auto" = "auto"): QueueForm {
    if (queueForm !== "auto") return this.#replaceAs(tables, queueForm);
    const usesQueue = tables.some(({ chains }) => chains.some(({ rules }) => rules.some(hasQueue)));
    if (!usesQueue) return this.#replaceAs(tables, "native");
    formThatWorked = this.#replaceByTrial(tables, formThatWorked ?? "native");
    return formThatWorked;
  }

  #replaceByTrial(tables: readonly Table[], first: QueueForm): QueueForm {
    try {
      return this.#replaceAs(tables, first);
    } catch (error) {
      if (first === "compat" || !(error instanceof UnknownQueueError)) throw error;
      return this.#replaceAs(tables, "compat");
    }
  }

  /** Deletes these tables in one batch; one that isn't there is no error. */
  remove(tables: readonly TableName[]): void {
    this.#batch("native", (encoder) => {
      for (const { family, name } of tables) encoder.remove(family, name);
    });
  }

  /** The table as the kernel has it, read from one state of the rule set; undefined if there is none. */
  read(family: Family, name: string): Table | undefined {
    return this.readAll([{ family, name }])[0];
  }

  /** The tables as the kernel has them, all from one state of the rule set; undefined for one that isn't there. */
  readAll(tables: readonly TableName[]): (Table | undefined)[] {
    for (let attempt = 0; attempt < readAttempts; attempt++) {
      const before = this.#generation();
      const found = tables.map(({ family, name }) => this.#readOnce(family, name));
      if (this.#generation() === before) return found;
    }
    const names = tables.map(({ family, name }) => `${family} ${name}`).join(", ");
    throw new NetlinkError(`read table ${names}: changed ${readAttempts} times meanwhile`, EAGAIN);
  }

  /**
   * Where none of the tables is there, none is deleted: behind a deletion the kernel waits for everybody who may still read the
   * old rules, and so does whoever closes a netlink socket of the namespace meanwhile (7 ms and more).
   */
  #replaceAs(tables: readonly Table[], queueForm: QueueForm): QueueForm {
    const operation = "look for tables";
    const isNew = tables.every(({ family, name }) => this.#readFlags(operation, family, name) === undefined);
    if (isNew && this.#createAs(tables, queueForm)) return queueForm;
    this.#batch(queueForm, (encoder) => {
      for (const table of tables) encoder.replace(table);
    });
    return queueForm;
  }

  /** False where somebody has made one of them meanwhile. */
  #createAs(tables: readonly Table[], queueForm: QueueForm): boolean {
    try {
      this.#batch(queueForm, (encoder) => {
        for (const table of tables) encoder.create(table);
      });
      return true;
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === EEXIST) return false;
      throw error;
    }
  }

  /** The kernel has answered everything when the send returns. */
  #batch(queueForm: QueueForm, fill: (encoder: BatchEncoder) => void): void {
    const writer = new MessageWriter(32 * 1024);
    const encoder = new BatchEncoder(writer, () => this.#socket.nextSequence(), queueForm);
    encoder.begin();
    fill(encoder);
    encoder.end();
    const operation = "replace tables";
    this.#socket.send(operation, writer.written());
    const failures = this.#collectFailures(operation, encoder.entries);
    const [first] = failures;
    if (first !== undefined)
      throw failures.find((failure) => !(failure instanceof UnknownQueueError)) ?? first;
  }

  /** Reads until the last message of the batch (the one before its end) is answered. */
  #collectFailures(operation: string, entries: readonly BatchEntry[]): NetlinkError[] {
    const subjects = new Map(entries.map((entry) => [entry.sequence, entry]));
    const last = entries.at(-2)?.sequence;
    const deadlineMs = performance.now() + this.#timeoutMs;
    const failures: NetlinkError[] = [];
    for (;;) {
      const messages = this.#socket.receive(operation, failures.length > 0 ? 0 : deadlineMs);
      if (messages === undefined)
        return failures.length > 0 ? failures : [new NetlinkError(operation, ETIMEDOUT)];
      const answers = messages.filter(({ type, sequence }) => type === NLMSG_ERROR && subjects.has(sequence));
      for (const message of answers) {
        const answer = understood(operation, decodeAcknowledgement(message));
        if (answer.errno !== 0) failures.push(batchError(operation, answer, subjects.get(message.sequence)));
      }
      if (answers.some(({ sequence }) => sequence === last)) return failures;
    }
  }

  #generation(): number {
    const operation = "read rule set generation";
    const answers = this.#socket.request(operation, NFT_MSG_GETGEN, 0, (writer) => writer.nfgen(0, 0));
    const answer = answers.find(({ type }) => type === NFT_MSG_NEWGEN);
    return understood(operation, decodeGeneration(answer?.payload ?? new Uint8Array(0)));
  }

  #readOnce(family: Family, name: string): Table | undefined {
    const operation = `read table ${family} ${name}`;
    const flags = this.#readFlags(operation, family, name);
    if (flags === undefined) return undefined;
    const sets = this.#readSets(operation, family, name);
    const chains = this.#list(operation, NFT_MSG_GETCHAIN, family, name, chainAttribute.table, decodeChain);
    const decode = (payload: Uint8Array): ReturnType<typeof decodeRule> => decodeRule(payload, sets);
    const rules = this.#list(operation, NFT_MSG_GETRULE, family, name, ruleAttribute.table, decode);
    return {
      family,
      name,
      ...(flags === 0 ? {} : { flags }),
      chains: chains.map((chain): Chain => ({
        name: chain.name,
        ...(chain.hook === undefined ? {} : { hook: chain.hook }),
        rules: rules.filter((rule) => rule.chain === chain.name).map(({ expressions }) => ({ expressions })),
      })),
    };
  }

  #readFlags(operation: string, family: Family, name: string): number | undefined {
    const [answer] = missingAsEmpty(() =>
      this.#socket.request(operation, NFT_MSG_GETTABLE, 0, (writer) => {
        writer.nfgen(familyNumber[family], 0);
        writer.string(tableAttribute.name, name);
      }),
    );
    return answer === undefined ? undefined : understood(operation, decodeTable(answer.payload)).flags;
  }

  #readSets(operation: string, family: Family, name: string): Map<string, AnonymousSet> {
    const found = this.#list(operation, NFT_MSG_GETSET, family, name, setAttribute.table, decodeSet);
    const sets = new Map<string, AnonymousSet>();
    for (const set of found.filter(({ anonymous }) => anonymous)) {
      const assembled = this.#readSet(operation, family, name, set);
      if (assembled !== undefined) sets.set(set.name, assembled);
    }
    return sets;
  }

  #readSet(operation: string, family: Family, table: string, set: FoundSet): AnonymousSet | undefined {
    const messages = missingAsEmpty(() =>
      this.#socket.dump(operation, NFT_MSG_GETSETELEM, (writer) => {
        writer.nfgen(familyNumber[family], 0);
        writer.string(elementListAttribute.table, table);
        writer.string(elementListAttribute.set, set.name);
      }),
    );
    return assembleSet(
      set,
      messages.flatMap(({ payload }) => understood(operation, decodeElements(payload))),
    );
  }

  /** Dumps objects of the family; older kernels don't filter by table. */
  #list<T extends { readonly table: string; readonly family: Family | undefined }>(
    operation: string,
    type: number,
    family: Family,
    table: string,
    tableAttributeType: number,
    decode: (payload: Uint8Array) => Decoded<T>,
  ): T[] {
    const messages = missingAsEmpty(() =>
      this.#socket.dump(operation, type, (writer) => {
        writer.nfgen(familyNumber[family], 0);
        writer.string(tableAttributeType, table);
      }),
    );
    return messages
      .map(({ payload }) => understood(operation, decode(payload)))
      .filter((object) => object.table === table && object.family === family);
  }
}

/** The kernel doesn't know the expression in a rule that has a queue, and says nothing worse. */
class UnknownQueueError extends NetlinkError {}

function batchError(operation: string, answer: Acknowledgement, entry: BatchEntry | undefined): NetlinkError {
  const Class = answer.errno === ENOENT && entry?.usesQueue === true ? UnknownQueueError : NetlinkError;
  return new Class(`${operation}: ${entry?.subject ?? "batch"}`, answer.errno, answer.extendedAck);
}

function hasQueue(rule: Table["chains"][number]["rules"][number]): boolean {
  return rule.expressions.some(({ kind }) => kind === "queue");
}

function missingAsEmpty(read: () => Message[]): Message[] {
  try {
    return read();
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === ENOENT) return [];
    throw error;
  }
}
