/**
 * Owns an enforcer without a datapath: it keeps a registry in memory and answers the control protocol, or misbehaves as it
 * is told. Source: `enforcer/control/messages.ts`.
 */
import { createHash } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { dirname } from "node:path";
import { LineSplitter } from "../enforcer/control/lines.ts";
import { encodeAnswer, encodeError } from "../enforcer/control/messages.ts";
import { decodePluginRequest } from "../enforcer/control/requests.ts";
import type {
  AddAnswer,
  AddRequest,
  AttachmentKey,
  LogRequest,
  PluginRequest,
} from "../enforcer/control/messages.ts";

/** How it treats connections: as it should, never a byte, one byte a second, or closed at once. */
export type Manner = "answers" | "silent" | "drips" | "closes";

/** Replaces the answer to a request by a line, or delays it; `undefined`: the usual answer. */
export type Reply = (request: PluginRequest) => string | undefined | Promise<string | undefined>;

const markMask = 0xfff00000;

export class FakeEnforcer {
  readonly socket: string;
  manner: Manner = "answers";
  reply: Reply = () => undefined;
  onLinkPrefixes6: readonly string[] = [];
  /** Every request, in the order of arrival. */
  readonly requests: PluginRequest[] = [];
  /** What is enforced, by PU id. */
  readonly attachments = new Map<string, AddRequest>();
  readonly #server: Server;
  readonly #connections = new Set<Socket>();

  private constructor(socket: string) {
    this.socket = socket;
    this.#server = createServer((connection) => this.#serve(connection));
  }

  /** Listens; makes the socket's directory with mode 0700. */
  static async listen(socket: string): Promise<FakeEnforcer> {
    mkdirSync(dirname(socket), { recursive: true, mode: 0o700 });
    rmSync(socket, { force: true });
    const enforcer = new FakeEnforcer(socket);
    await new Promise<void>((resolve) => enforcer.#server.listen({ path: socket, backlog: 1024 }, resolve));
    return enforcer;
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get logs(): LogRequest[] {
    return this.requests.filter((request) => request.op === "log");
  }

  get adds(): AddRequest[] {
    return this.requests.filter((request) => request.op === "add");
  }

  #serve(connection: Socket): void {
    this.#connections.add(connection);
    const session = new Session(this);
    const splitter = new LineSplitter();
    let work = Promise.resolve();
    connection.on("error", () => undefined);
    connection.on("close", () => this.#connections.delete(connection));
    if (this.manner === "closes") connection.destroy();
    if (this.manner === "drips") drip(connection);
    connection.on("data", (chunk: Buffer) => {
      const split = splitter.push(chunk);
      for (const line of split.ok ? split.lines : [])
        work = work.then(() => session.answer(line, connection));
    });
  }
}

function drip(connection: Socket): void {
  const timer = setInterval(() => connection.write("{"), 1000);
  connection.write("{");
  connection.on("close", () => clearInterval(timer));
}

/** One connection: an add counts when `enforce` came on the same one. */
class Session {
  readonly #enforcer: FakeEnforcer;
  #pending: AddRequest | undefined;

  constructor(enforcer: FakeEnforcer) {
    this.#enforcer = enforcer;
  }

  async answer(line: string, connection: Socket): Promise<void> {
    const decoded = decodePluginRequest(line);
    if (decoded.ok) this.#enforcer.requests.push(decoded.value);
    if (this.#enforcer.manner !== "answers") return;
    const special = decoded.ok ? await this.#enforcer.reply(decoded.value) : encodeError(decoded.error);
    if (!connection.destroyed) connection.write(special ?? (decoded.ok ? this.#answer(decoded.value) : ""));
  }

  #answer(request: PluginRequest): string {
    const { attachments } = this.#enforcer;
    switch (request.op) {
      case "add":
        this.#pending = request;
        return encodeAnswer({ puId: puIdOf(request), ...this.#rules(request.netnsCookie) });
      case "enforce":
        if (this.#pending === undefined) return encodeError({ code: 102, message: "nothing was added" });
        attachments.set(request.puId, this.#pending);
        return encodeAnswer({});
      case "del":
        attachments.delete(puIdOf(request));
        return encodeAnswer({});
      case "check":
        if (!attachments.has(puIdOf(request)))
          return encodeError({ code: 102, message: "no such attachment" });
        return encodeAnswer({
          puId: puIdOf(request),
          ...this.#rules(attachments.get(puIdOf(request))?.netnsCookie),
          enforcedSince: new Date(0).toISOString(),
        });
      case "gc":
        return encodeAnswer({ released: this.#collect(request.network, request.attachments), failures: [] });
      case "status":
        return encodeAnswer({ ready: true, enforcerVersion: "fake" });
      case "log":
        return encodeAnswer({});
    }
  }

  /** One set of rules for all attachments of a namespace. */
  #rules(netnsCookie: string | undefined): Omit<AddAnswer, "puId"> {
    const { attachments, onLinkPrefixes6 } = this.#enforcer;
    const all = [...attachments.values(), ...(this.#pending === undefined ? [] : [this.#pending])];
    const sharing = all.filter((add) => add.netnsCookie === netnsCookie);
    const addresses = sharing.flatMap((add) => add.addresses.map(({ address }) => address));
    return { markMask, onLinkPrefixes6, sourceAddresses: [...new Set(addresses)] };
  }

  #collect(network: string, valid: readonly Omit<AttachmentKey, "network">[]): string[] {
    const kept = new Set(valid.map((attachment) => puIdOf({ network, ...attachment })));
    const stale = [...this.#enforcer.attachments].filter(
      ([id, add]) => add.network === network && !kept.has(id),
    );
    for (const [id] of stale) this.#enforcer.attachments.delete(id);
    return stale.map(([id]) => id);
  }
}

/** First 16 hex digits of SHA-256(network ‖ 0 ‖ container ‖ 0 ‖ interface). */
export function puIdOf({ network, containerId, ifname }: AttachmentKey): string {
  return createHash("sha256").update(`${network}\0${containerId}\0${ifname}`).digest("hex").slice(0, 16);
}
