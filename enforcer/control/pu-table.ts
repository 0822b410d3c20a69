/**
 * Owns the PUs of this node: from ADD to DEL, across restarts, each bound to one network namespace.
 *
 * ```
 *            add                 enforce
 *   (none) ───────► prepared ───────────────► enforced ──► (none)
 *      ▲               │ connection lost,        │  del, gc, release,
 *      └───────────────┘ del, time-out           │  namespace gone
 * ```
 * Only enforced PUs are on disk. What happens to one attachment happens in turn; attachments don't wait for one another.
 */
import type { Log } from "../log.ts";
import { errorText, OperationError } from "../operation-error.ts";
import { attributesIdentity } from "../policy/attributes.ts";
import { openClaimed } from "./attachment-claims.ts";
import type {
  AddAnswer,
  AddRequest,
  AttachmentKey,
  CheckAnswer,
  CheckRequest,
  ControlErrorCode,
  Decoded,
  GcAnswer,
  GcRequest,
} from "./messages.ts";
import type { Namespaces } from "./namespaces.ts";
import type { ReleaseAnswer } from "./operator-messages.ts";
import type { PuHost } from "./pu-host.ts";
import { addressesOf, deriveAttributes, onLinkPrefixesOf, puIdOf, type PuRecord } from "./pu-record.ts";
import type { RegistryFolder } from "./registry-folder.ts";
import { Turns } from "./turns.ts";

export interface PuTableOptions {
  readonly folder: RegistryFolder;
  readonly namespaces: Namespaces;
  readonly host: PuHost;
  readonly log: Log;
  readonly node: string;
  readonly markMask: number;
  readonly maximumPus: number;
  /** Wall clock, in milliseconds. */
  readonly now: () => number;
}

/** Names the connection that an ADD is under way on. */
export type Owner = symbol;

interface Entry {
  record: PuRecord;
  readonly netnsFd: number;
  /** The connection that must still send `enforce`; undefined once it has. */
  owner: Owner | undefined;
}

/** What `restore` found on disk. */
export interface Restored {
  readonly restored: number;
  readonly dropped: number;
}

const DONE: Decoded<object> = { ok: true, value: {} };

export class PuTable {
  readonly #options: PuTableOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #turns = new Turns();
  /** On disk, but the host wouldn't have them (keys missing, say): closed, and tried again by `sweep`. */
  readonly #unhosted = new Map<string, PuRecord>();
  /** ADDs that are being prepared; they count against the maximum. */
  #preparing = 0;

  constructor(options: PuTableOptions) {
    this.#options = options;
  }

  /** The enforced PUs, in the order of their ids. */
  list(): PuRecord[] {
    const enforced = [...this.#entries.values()].filter(({ owner }) => owner === undefined);
    return enforced.map(({ record }) => record).sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Goes on with the PUs on disk. What can't go on is reported and dropped; the others don't suffer. */
  async restore(): Promise<Restored> {
    const results = await Promise.all(
      this.#options.folder.load().map(async (loaded) => {
        if (loaded.ok) return this.#turns.take(loaded.record.id, () => this.#restoreLoaded(loaded));
        this.#options.log.error("registry: record dropped", { file: loaded.file, problem: loaded.problem });
        return false;
      }),
    );
    const restored = results.filter((one) => one).length;
    return { restored, dropped: results.length - restored };
  }

  /** A record that came from its copy is written anew, if its PU is still there. */
  async #restoreLoaded({ record, damage }: { record: PuRecord; damage?: string }): Promise<boolean> {
    if (damage !== undefined) {
      this.#options.log.error("registry: record restored from its copy", {
        ...names(record),
        problem: damage,
      });
      await this.#options.folder.write(record);
    }
    return this.#restoreOne(record);
  }

  async #restoreOne(record: PuRecord): Promise<boolean> {
    const found = this.#reopen(record);
    if (!found.ok) {
      this.#options.log.warn("registry: PU dropped", { ...names(record), problem: found.error.message });
      this.#unhosted.delete(record.id);
      this.#forgetOnDisk(record.id);
      return false;
    }
    try {
      await this.#options.host.attach({ record, netnsFd: found.value });
    } catch (error) {
      this.#options.namespaces.close(found.value);
      this.#unhosted.set(record.id, record);
      this.#options.log.error("registry: PU cannot be judged", {
        ...names(record),
        problem: errorText(error),
      });
      return false;
    }
    this.#unhosted.delete(record.id);
    this.#entries.set(record.id, { record, netnsFd: found.value, owner: undefined });
    this.#options.host.guardRules({ record, netnsFd: found.value });
    return true;
  }

  /** Opens the recorded path again, if it still is the recorded namespace. */
  #reopen(record: PuRecord): Decoded<number> {
    const { namespaces } = this.#options;
    let fd: number | undefined;
    try {
      fd = namespaces.open(record.netnsPath);
      const cookie = namespaces.cookie(fd);
      if (cookie === record.netnsCookie) return { ok: true, value: fd };
      namespaces.close(fd);
      return refuse(104, `${record.netnsPath} is another namespace now`);
    } catch (error) {
      if (fd !== undefined) namespaces.close(fd);
      return refuse(104, `${record.netnsPath} is gone (${errorText(error)})`);
    }
  }

  /** Prepares a PU for `owner`, who must `enforce` it. The same ADD again for an enforced PU changes nothing. */
  add(request: AddRequest, owner: Owner): Promise<Decoded<AddAnswer>> {
    return this.#turns.take(puIdOf(request), () => this.#add(request, owner));
  }

  async #add(request: AddRequest, owner: Owner): Promise<Decoded<AddAnswer>> {
    const opened = openClaimed(this.#options.namespaces, request);
    if (!opened.ok) return opened;
    const { netnsFd, podInterface } = opened.value;
    const record: PuRecord = {
      id: puIdOf(request),
      network: request.network,
      containerId: request.containerId,
      ifname: request.ifname,
      netnsPath: request.netnsPath,
      netnsCookie: request.netnsCookie,
      addresses: request.addresses,
      attributes: deriveAttributes(request.attributes, request.pod, this.#options.node),
      mtu: podInterface.mtu,
      onLinkPrefixes6: podInterface.onLinkPrefixes6,
      enforcedSince: "",
    };
    const answer = (await this.#answerFromKnown(record)) ?? (await this.#attach({ record, netnsFd, owner }));
    if (this.#entries.get(record.id)?.netnsFd !== netnsFd) this.#options.namespaces.close(netnsFd);
    return answer;
  }

  /** What an attachment that is there already means for a new ADD of it; undefined: nothing, go on. */
  async #answerFromKnown(record: PuRecord): Promise<Decoded<AddAnswer> | undefined> {
    const known = this.#entries.get(record.id);
    if (known === undefined) return undefined;
    if (known.owner !== undefined) return refuse(11, "an ADD of this attachment is under way");
    if (isSame(known.record, record)) return { ok: true, value: this.#addAnswer(known.record) };
    const before = this.#reopen(known.record);
    if (before.ok) {
      this.#options.namespaces.close(before.value);
      return refuse(
        106,
        "the attachment exists, with another namespace, addresses or attributes; DEL it first",
      );
    }
    await this.#letGo(known, "namespace gone");
    return undefined;
  }

  async #attach(entry: Entry): Promise<Decoded<AddAnswer>> {
    if (this.#entries.size + this.#preparing >= this.#options.maximumPus) {
      return refuse(
        11,
        `${this.#options.maximumPus} processing units are the limit (limits.processingUnits)`,
      );
    }
    this.#preparing += 1;
    try {
      await this.#options.host.attach(entry);
    } catch (error) {
      return { ok: false, error: { code: codeOf(error), message: errorText(error) } };
    } finally {
      this.#preparing -= 1;
    }
    this.#entries.set(entry.record.id, entry);
    return { ok: true, value: this.#addAnswer(entry.record) };
  }

  /** The rule set is one for all PUs of a namespace. */
  #addAnswer(record: PuRecord): AddAnswer {
    const neighbours = [...this.#entries.values()].map((entry) => entry.record);
    const sharing = neighbours.filter(({ netnsCookie }) => netnsCookie === record.netnsCookie);
    return {
      puId: record.id,
      markMask: this.#options.markMask,
      onLinkPrefixes6: onLinkPrefixesOf([record, ...sharing]),
      sourceAddresses: addressesOf([record, ...sharing]),
    };
  }

  /** Ends the preparation: the PU is recorded, and lives until DEL. */
  enforce(puId: string, owner: Owner): Promise<Decoded<object>> {
    return this.#turns.take(puId, async () => {
      const entry = this.#entries.get(puId);
      if (entry === undefined) return refuse(102, `no PU ${puId}: it was deleted, or took too long`);
      if (entry.owner === undefined) return DONE;
      if (entry.owner !== owner) return refuse(102, `PU ${puId} is being added by another connection`);
      const record = { ...entry.record, enforcedSince: new Date(this.#options.now()).toISOString() };
      const written = this.#options.folder.write(record);
      // The disk takes about as long.
      this.#options.host.guardRules({ record, netnsFd: entry.netnsFd });
      try {
        await written;
      } catch (error) {
        await this.#drop(entry);
        return refuse(105, errorText(error));
      }
      entry.record = record;
      entry.owner = undefined;
      this.#unhosted.delete(puId);
      this.#options.log.info("PU enforced", names(record));
      return DONE;
    });
  }

  /** Undoes what `owner` has prepared and not enforced. */
  async abandon(owner: Owner): Promise<void> {
    const prepared = [...this.#entries.values()].filter((entry) => entry.owner === owner);
    await Promise.all(
      prepared.map(({ record }) =>
        this.#turns.take(record.id, async () => {
          const entry = this.#entries.get(record.id);
          if (entry?.owner === owner) await this.#letGo(entry, "ADD not completed");
        }),
      ),
    );
  }

  /** Lets go of an attachment's PU; done as well when there is none. */
  del(key: AttachmentKey): Promise<Decoded<object>> {
    const id = puIdOf(key);
    return this.#turns.take(id, async () => {
      try {
        const entry = this.#entries.get(id);
        if (entry !== undefined) await this.#letGo(entry, "deleted");
        this.#forgetRecord(id);
        return DONE;
      } catch (error) {
        return refuse(105, errorText(error));
      }
    });
  }

  /** Whether the attachment is enforced, in that namespace and no other. */
  check(request: CheckRequest): Promise<Decoded<CheckAnswer>> {
    const id = puIdOf(request);
    return this.#turns.take(id, () => {
      const entry = this.#entries.get(id);
      if (entry?.owner !== undefined) return refuse(11, "the ADD of this attachment is under way");
      if (entry === undefined) return refuse(102, "the attachment is not enforced: no ADD, or DEL since");
      const { netnsCookie, enforcedSince } = entry.record;
      if (request.netnsCookie !== undefined && request.netnsCookie !== netnsCookie) {
        return refuse(104, `enforced in namespace ${netnsCookie}, not ${request.netnsCookie}`);
      }
      return { ok: true, value: { ...this.#addAnswer(entry.record), enforcedSince } };
    });
  }

  /** Lets go of the network's PUs that aren't listed. One that fails doesn't keep the others. */
  async gc(request: GcRequest): Promise<GcAnswer> {
    const keep = new Set(request.attachments.map((one) => puIdOf({ network: request.network, ...one })));
    const stale = this.list().filter(({ id, network }) => network === request.network && !keep.has(id));
    const answers = await Promise.all(
      stale.map(async (record) => ({ id: record.id, answer: await this.del(record) })),
    );
    return {
      released: answers.filter(({ answer }) => answer.ok).map(({ id }) => id),
      failures: answers.flatMap(({ id, answer }) => (answer.ok ? [] : [`${id}: ${answer.error.message}`])),
    };
  }

  /** Opens one PU's interface, or all namespaces of ours, and lets go. */
  async release(puId: string | undefined): Promise<Decoded<ReleaseAnswer>> {
    const chosen = this.list().filter(({ id }) => puId === undefined || id === puId);
    if (puId !== undefined && chosen.length === 0)
      return refuse(102, `no PU ${puId}; \`trireme status\` lists them`);
    const failures: { puId: string; message: string }[] = [];
    const released: string[] = [];
    for (const { id } of chosen) {
      const problem = await this.#turns.take(id, () => this.#releaseOne(id, puId === undefined));
      if (problem === undefined) released.push(id);
      else failures.push({ puId: id, message: problem });
    }
    return { ok: true, value: { released, failures } };
  }

  async #releaseOne(id: string, withAllOthers: boolean): Promise<string | undefined> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return undefined;
    try {
      this.#options.host.removeRules(entry, withAllOthers ? undefined : this.#neighboursOf(entry.record));
      this.#options.log.warn("PU released: its interface is open now", names(entry.record));
      await this.#letGo(entry, "released");
      return undefined;
    } catch (error) {
      return errorText(error);
    }
  }

  /** The other PUs of the same namespace that are enforced, or will be as soon as they can be judged. */
  #neighboursOf({ id, netnsCookie }: PuRecord): PuRecord[] {
    const records = [...this.list(), ...this.#unhosted.values()];
    return records.filter((record) => record.netnsCookie === netnsCookie && record.id !== id);
  }

  /** Lets go of PUs whose namespace has vanished from its path, and tries again what couldn't be restored. Call every few seconds. */
  async sweep(): Promise<void> {
    await Promise.all([...this.#entries.keys()].map((id) => this.#turns.take(id, () => this.#sweepOne(id))));
    const retries = [...this.#unhosted.keys()].map((id) => this.#turns.take(id, () => this.#retry(id)));
    await Promise.all(retries);
  }

  async #retry(id: string): Promise<void> {
    const record = this.#unhosted.get(id);
    if (record !== undefined && !this.#entries.has(id)) await this.#restoreOne(record);
  }

  async #sweepOne(id: string): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    const found = this.#reopen(entry.record);
    if (found.ok) {
      this.#options.namespaces.close(found.value);
      return;
    }
    try {
      await this.#letGo(entry, found.error.message);
    } catch (error) {
      this.#options.log.error("PU cannot be let go", { ...names(entry.record), problem: errorText(error) });
    }
  }

  /** Disk first: a crash in between leaves a namespace closed, never a PU that comes back. Throws `OperationError`. */
  async #letGo(entry: Entry, why: string): Promise<void> {
    this.#forgetRecord(entry.record.id);
    await this.#drop(entry);
    this.#options.log.info("PU let go", { ...names(entry.record), why });
  }

  /** What is on disk stays. */
  async #drop({ record, netnsFd }: Entry): Promise<void> {
    this.#entries.delete(record.id);
    await this.#options.host.detach(record.id);
    this.#options.namespaces.close(netnsFd);
  }

  /** Throws `OperationError`. */
  #forgetRecord(id: string): void {
    this.#unhosted.delete(id);
    this.#options.folder.remove(id);
  }

  #forgetOnDisk(id: string): void {
    try {
      this.#options.folder.remove(id);
    } catch (error) {
      this.#options.log.error("registry: record cannot be removed", { pu: id, problem: errorText(error) });
    }
  }

  /** Detaches everything and closes every descriptor; the records stay for the next start. */
  async close(): Promise<void> {
    await this.#turns.settled();
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    await Promise.all(entries.map(({ record }) => this.#options.host.detach(record.id)));
    for (const { netnsFd } of entries) this.#options.namespaces.close(netnsFd);
  }
}

function isSame(known: PuRecord, wanted: PuRecord): boolean {
  return (
    known.netnsCookie === wanted.netnsCookie &&
    JSON.stringify(known.addresses) === JSON.stringify(wanted.addresses) &&
    attributesIdentity(known.attributes) === attributesIdentity(wanted.attributes)
  );
}

function names(record: PuRecord): { pu: string; network: string; containerId: string; ifname: string } {
  return { pu: record.id, network: record.network, containerId: record.containerId, ifname: record.ifname };
}

function codeOf(error: unknown): ControlErrorCode {
  if (!(error instanceof OperationError)) return 105;
  if (error.code === "request-invalid" || error.code === "limit") return 7;
  if (error.code === "timeout" || error.code === "unreachable") return 11;
  return 105;
}

function refuse(code: ControlErrorCode, message: string): Decoded<never> {
  return { ok: false, error: { code, message } };
}
