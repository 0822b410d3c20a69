/**
 * Watches the rules of every PU's namespace: what a pod with CAP_NET_ADMIN flushes or alters is put back and reported, and
 * rules follow an interface that is renamed, since they are bound to its name. Source: design, "In the pod's namespace".
 */
import { MonitorSocket } from "../../netlink/monitor-socket.ts";
import { compareTables, type TableDifference } from "../../netlink/nftables/compare.ts";
import { Nftables } from "../../netlink/nftables/nftables.ts";
import { Poller } from "../../netlink/poller.ts";
import type { Table } from "../../netlink/nftables/model.ts";
import { devicesOf, linkLocalsOf } from "../../plugin/egress-rules.ts";
import { closedInterfaces, type RuleOwner } from "../../plugin/rule-owners.ts";
import { sealOf } from "../../plugin/rule-set.ts";
import { lacksEgress, newSeal, readTables, type FoundTables } from "../../plugin/rule-tables.ts";
import type { HostedPu } from "../control/pu-host.ts";
import type { Log } from "../log.ts";
import { readInterfaces, renderNamespace, renderingOf, type Rendering } from "./namespace-rules.ts";

/** A change is looked at so long after it was told: whoever makes one often makes several. */
const SETTLE_MS = 100;
/** A pod that alters its rules all the time costs us one repair a second. */
const REPAIR_INTERVAL_MS = 1_000;
/** How long a DEL may take from the enforcer's part to the last change of the rules. */
const DEL_MS = 5_000;

export interface RuleGuardOptions {
  readonly markMask: number;
  readonly log: Log;
  /** Monotonic, ms. */
  readonly now: () => number;
}

interface WatchedUnit {
  readonly pu: HostedPu;
  /** Index of its interface, which a rename doesn't change; undefined while there is none of its name. */
  readonly interfaceIndex: number | undefined;
}

/** One namespace and the PUs in it. */
interface WatchedNamespace {
  readonly cookie: string;
  readonly units: Map<string, WatchedUnit>;
  /** PUs that are being added beside these: their plugin is changing the rules. */
  readonly pending: Set<string>;
  readonly monitors: readonly { readonly socket: MonitorSocket; readonly token: number }[];
  timer: NodeJS.Timeout | undefined;
  repairedMs: number;
  /** Until then a change is the end of an attachment, and nothing to report. */
  quietUntilMs: number;
  /** False once the kernel has refused the egress table. */
  hasEgress: boolean;
  /** The one that was there when the namespace was first looked at. */
  seal: number | undefined;
}

export class RuleGuard {
  readonly #options: RuleGuardOptions;
  readonly #poller: Poller;
  readonly #namespaces = new Map<string, WatchedNamespace>();
  readonly #byToken = new Map<number, WatchedNamespace>();
  readonly #repairs = new Map<string, number>();
  #nextToken = 1;

  constructor(options: RuleGuardOptions) {
    this.#options = options;
    this.#poller = new Poller((tokens, count) => this.#changed(tokens, count));
  }

  /** PU → how often its rules had to be put back. */
  get repairs(): ReadonlyMap<string, number> {
    return this.#repairs;
  }

  /** PUs in namespaces whose kernel has no egress hook: frames of packet sockets pass the rules there. */
  get withoutEgress(): string[] {
    return [...this.#namespaces.values()].flatMap(({ hasEgress, units }) =>
      hasEgress ? [] : [...units.keys()],
    );
  }

  /** A PU is being added: the rules of its namespace are the plugin's to change until `watch` or `unwatch`. */
  prepare({ record }: HostedPu): void {
    this.#namespaces.get(record.netnsCookie)?.pending.add(record.id);
  }

  /** Watches a PU whose rules are in place, or should be: they are looked at soon. Throws `NetlinkError`. */
  watch(pu: HostedPu): void {
    const namespace = this.#namespaces.get(pu.record.netnsCookie) ?? this.#open(pu);
    namespace.units.set(pu.record.id, { pu, interfaceIndex: indexOf(pu) });
    namespace.pending.delete(pu.record.id);
    this.#schedule(namespace);
  }

  unwatch(puId: string): void {
    for (const namespace of this.#namespaces.values()) {
      const isOurs = namespace.units.delete(puId) || namespace.pending.delete(puId);
      if (!isOurs) continue;
      if (namespace.units.size === 0) {
        this.#close(namespace);
        continue;
      }
      namespace.quietUntilMs = this.#options.now() + DEL_MS;
      // What happened while an ADD was under way has not been looked at.
      this.#schedule(namespace);
    }
    this.#repairs.delete(puId);
  }

  close(): void {
    for (const namespace of [...this.#namespaces.values()]) this.#close(namespace);
    this.#poller.close();
  }

  #open({ record, netnsFd }: HostedPu): WatchedNamespace {
    const monitors = (["links", "addresses6", "nftables"] as const).map((topic) => ({
      socket: MonitorSocket.open(topic, netnsFd),
      token: this.#nextToken++,
    }));
    const namespace: WatchedNamespace = {
      cookie: record.netnsCookie,
      units: new Map(),
      pending: new Set(),
      monitors,
      timer: undefined,
      repairedMs: -Infinity,
      quietUntilMs: -Infinity,
      hasEgress: true,
      seal: undefined,
    };
    this.#namespaces.set(namespace.cookie, namespace);
    for (const { socket, token } of monitors) {
      this.#byToken.set(token, namespace);
      this.#poller.add(socket.fd, token);
    }
    return namespace;
  }

  #close(namespace: WatchedNamespace): void {
    clearTimeout(namespace.timer);
    this.#namespaces.delete(namespace.cookie);
    for (const { socket, token } of namespace.monitors) {
      this.#poller.remove(socket.fd);
      this.#byToken.delete(token);
      socket.close();
    }
  }

  #changed(tokens: Uint32Array, count: number): void {
    for (let index = 0; index < count; index += 1) {
      const namespace = this.#byToken.get(tokens[index] ?? 0);
      if (namespace === undefined) continue;
      for (const { socket } of namespace.monitors) socket.drain();
      this.#schedule(namespace);
    }
  }

  #schedule(namespace: WatchedNamespace): void {
    if (namespace.timer !== undefined) return;
    const waitMs = namespace.repairedMs + REPAIR_INTERVAL_MS - this.#options.now();
    namespace.timer = setTimeout(
      () => {
        namespace.timer = undefined;
        this.#inspect(namespace);
      },
      Math.max(SETTLE_MS, waitMs),
    );
  }

  #inspect(namespace: WatchedNamespace): void {
    try {
      this.#repair(namespace);
    } catch (error) {
      this.#options.log.error("rules cannot be looked after", { problem: String(error) });
    }
  }

  #repair(namespace: WatchedNamespace): void {
    const units = [...namespace.units.values()];
    const [first] = units;
    if (first === undefined || namespace.pending.size > 0) return;
    const nftables = Nftables.open({ netns: first.pu.netnsFd });
    try {
      const found = readTables(nftables);
      const interfaces = readInterfaces(first.pu.netnsFd);
      const rendering = renderingOf(ownersOf(units, interfaces.names), found.inet, interfaces);
      namespace.seal ??= sealOf(found.inet);
      this.#putRight(namespace, nftables, found, rendering);
    } finally {
      nftables.close();
    }
  }

  #putRight(namespace: WatchedNamespace, nftables: Nftables, found: FoundTables, rendering: Rendering): void {
    if (this.#differences(namespace, rendering, found).length === 0) return;
    this.#replace(namespace, nftables, rendering);
    const [altered] = this.#differences(namespace, followed(rendering, found), found);
    if (altered !== undefined)
      this.#report(namespace, [...namespace.units.values()], JSON.stringify(altered));
  }

  /** Without the egress table, for good, where the kernel has no hook for it. */
  #replace(namespace: WatchedNamespace, nftables: Nftables, rendering: Rendering): void {
    try {
      nftables.replace(this.#render(namespace, rendering));
    } catch (error) {
      if (!namespace.hasEgress || !lacksEgress(error)) throw error;
      namespace.hasEgress = false;
      nftables.replace(this.#render(namespace, rendering));
    }
  }

  #differences(namespace: WatchedNamespace, rendering: Rendering, found: FoundTables): TableDifference[] {
    const [inet, egress] = this.#render(namespace, rendering);
    return [
      ...(inet === undefined ? [] : compareTables(inet, found.inet)),
      ...(egress === undefined ? [] : compareTables(egress, found.egress)),
    ];
  }

  #render(namespace: WatchedNamespace, rendering: Rendering): readonly Table[] {
    if (namespace.seal === undefined || namespace.seal === 0) namespace.seal = newSeal();
    return renderNamespace(rendering, {
      records: [...namespace.units.values()].map(({ pu }) => pu.record),
      markMask: this.#options.markMask,
      seal: namespace.hasEgress ? namespace.seal : undefined,
    });
  }

  #report(namespace: WatchedNamespace, units: readonly WatchedUnit[], difference: string): void {
    namespace.repairedMs = this.#options.now();
    if (namespace.repairedMs < namespace.quietUntilMs) return;
    for (const { pu } of units) {
      this.#repairs.set(pu.record.id, (this.#repairs.get(pu.record.id) ?? 0) + 1);
      this.#options.log.warn("rules had been altered, and were put back", { pu: pu.record.id, difference });
    }
  }
}

/** What is nobody's alteration: a link-local address that came or went, a closed interface whose link has gone. */
function followed(rendering: Rendering, { inet, egress }: FoundTables): Rendering {
  const closedNames = closedInterfaces(inet);
  const devices = new Set([...rendering.present, ...closedNames]);
  return {
    ...rendering,
    closedNames,
    linkLocals: linkLocalsOf(egress),
    present: devicesOf(egress).filter((name) => devices.has(name)),
  };
}

/** The PUs that we watch, on their interfaces as they are called now. */
function ownersOf(units: readonly WatchedUnit[], names: ReadonlyMap<number, string>): RuleOwner[] {
  return units.map(({ pu, interfaceIndex }) => ({
    puId: pu.record.id,
    interfaceName: (interfaceIndex === undefined ? undefined : names.get(interfaceIndex)) ?? pu.record.ifname,
  }));
}

function indexOf({ record, netnsFd }: HostedPu): number | undefined {
  for (const [index, name] of readInterfaces(netnsFd).names) if (name === record.ifname) return index;
  return undefined;
}
