/** One published fake for each edge of the plugin: the process, the pod's namespace, the enforcer. */
import type { Edges } from "../../plugin/call.ts";
import type { ControlConnection } from "../../plugin/control-client.ts";
import { encodeAnswer, encodeRequest } from "../../enforcer/control/messages.ts";
import type { PluginRequest } from "../../enforcer/control/messages.ts";
import { NetlinkError } from "../../netlink/error.ts";
import type { Table } from "../../netlink/nftables/model.ts";
import { parseAddress } from "../../netlink/prefix.ts";
import { ownerOf } from "../../plugin/enforcement.ts";
import type { PodNamespace } from "../../plugin/pod-namespace.ts";
import type { FoundTables } from "../../plugin/rule-tables.ts";
import { run } from "../../plugin/run.ts";

/** A namespace in memory. `fail` makes the named methods throw. */
export class FakeNamespace implements PodNamespace {
  readonly cookie = "7";
  readonly interfaces = new Map([["eth0", ["10.1.0.2", "fd00::2"]]]);
  readonly sysctls = new Map<string, string>();
  readonly fail = new Set<keyof PodNamespace>();
  tables: readonly Table[] = [];
  isClosed = false;
  /** Whether the kernel has the egress hook. */
  isEgressKnown = true;

  addressesOf(interfaceName: string): readonly Uint8Array[] | undefined {
    this.#mayFail("addressesOf");
    return this.interfaces.get(interfaceName)?.map((text) => parseAddress(text) ?? new Uint8Array());
  }

  readRules(): FoundTables {
    this.#mayFail("readRules");
    const of = (family: Table["family"]): Table | undefined =>
      this.tables.find((table) => table.family === family);
    return { inet: of("inet"), egress: of("netdev") };
  }

  replaceRules(tables: readonly Table[]): void {
    this.#mayFail("replaceRules");
    if (!this.isEgressKnown && tables.some(({ family }) => family === "netdev"))
      throw new NetlinkError("replace tables: netdev trireme: chain egress", 95);
    const kept = this.tables.filter(({ family }) => !tables.some((table) => table.family === family));
    this.tables = [...tables, ...kept];
  }

  hasEgress(): boolean {
    this.#mayFail("hasEgress");
    return this.isEgressKnown;
  }

  removeRules(): void {
    this.#mayFail("removeRules");
    this.tables = [];
  }

  readSysctl(path: string): string {
    return this.sysctls.get(path) ?? "60";
  }

  writeSysctl(path: string, value: string): void {
    this.#mayFail("writeSysctl");
    this.sysctls.set(path, value);
  }

  close(): void {
    this.isClosed = true;
  }

  #mayFail(method: keyof PodNamespace): void {
    if (this.fail.has(method)) throw new Error(`${method} was refused`);
  }
}

/** An enforcer in memory: answers at once, with what `reply` gives or as it should. */
export class FakeControl {
  readonly requests: PluginRequest[] = [];
  reply: (request: PluginRequest) => string | undefined = () => undefined;
  unreachable: Error | undefined;
  openConnections = 0;

  readonly connect: Edges["connect"] = () => {
    if (this.unreachable !== undefined) return Promise.reject(this.unreachable);
    this.openConnections++;
    const connection: ControlConnection = {
      request: (request, decode) => {
        this.requests.push(JSON.parse(encodeRequest(request)) as PluginRequest);
        const decoded = decode((this.reply(request) ?? usualAnswer(request)).trim());
        if (decoded.ok) return Promise.resolve(decoded.value);
        return Promise.reject(Object.assign(new Error(decoded.error.message), decoded.error));
      },
      close: () => this.openConnections--,
    };
    return Promise.resolve(connection);
  };
}

function usualAnswer(request: PluginRequest): string {
  const rules = { markMask: 0xfff00000, onLinkPrefixes6: [], sourceAddresses: ["10.1.0.2", "fd00::2"] };
  if (request.op === "add" || request.op === "check") {
    return encodeAnswer({ puId: ownerOf(request).puId, ...rules, enforcedSince: "2026-01-01T00:00:00Z" });
  }
  return encodeAnswer(request.op === "gc" ? { released: [], failures: [] } : {});
}

export interface Attempt {
  readonly exitCode: number;
  readonly stdout: string;
}

export interface World {
  readonly namespace: FakeNamespace;
  readonly control: FakeControl;
  /** Runs the plugin once; `stdin` undefined: it can't be read. */
  readonly attempt: (
    env: Record<string, string>,
    stdin: string | undefined,
    uptimeMs?: number,
  ) => Promise<Attempt>;
}

/** A plugin whose every edge is in memory. */
export function createWorld(edges: Partial<Edges> = {}): World {
  const namespace = new FakeNamespace();
  const control = new FakeControl();
  const all: Edges = {
    connect: control.connect,
    openNamespace: () => namespace,
    isOwnNamespace: () => false,
    now: () => new Date(0),
    pluginVersion: "1.2.3",
    ...edges,
  };
  return {
    namespace,
    control,
    attempt: async (env, stdin, uptimeMs = 0) => {
      const written: string[] = [];
      const exitCode = await run(
        {
          arguments: [],
          env,
          stdin: () => oneChunk(stdin),
          writeStdout: (text) => written.push(text),
          uptimeMs: () => uptimeMs,
        },
        all,
      );
      return { exitCode, stdout: written.join("") };
    },
  };
}

async function* oneChunk(text: string | undefined): AsyncIterable<Uint8Array> {
  if (text === undefined) throw Object.assign(new Error("no"), { code: "EISDIR" });
  yield await Promise.resolve(Buffer.from(text));
}
