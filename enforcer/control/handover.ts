/**
 * Owns the socket beside the control socket at which the plugin's launcher hands over a whole call: what it looks like, and who may.
 * The other end, and what it does where this one isn't there: plugin/launcher/launcher.c.
 *
 * ```
 * launcher ── connects ──► greeting ──► call ──► answer: text and exit code, or "declined"
 * ```
 * All numbers are little-endian; a call and an answer begin with the number of bytes that follow (u32).
 */
import { createServer, type Server, type Socket } from "node:net";
import type { Log } from "../log.ts";
import { descriptorOf } from "./server.ts";
import { listenAt } from "./socket-file.ts";

/** A file as stat(2) tells it from others. */
export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
}

/** A run of the plugin that a launcher has begun. */
export interface HandedCall {
  /** CNI_* and nothing else. */
  readonly environment: Readonly<Record<string, string>>;
  /** All of standard input. */
  readonly input: Buffer;
  /** Since the start of the launcher's process. */
  readonly elapsedMs: number;
  /** The launcher's network namespace. */
  readonly own: FileIdentity;
  /** What CNI_NETNS names where the launcher is; undefined: nothing. */
  readonly named: FileIdentity | undefined;
}

/** "declined": the launcher's own binary has to do it. */
export type Outcome = { readonly stdout: string; readonly exitCode: number } | "declined";

/** Runs the plugin; `gone` is aborted when nobody waits for the answer any more. */
export type PerformCall = (call: HandedCall, gone: AbortSignal) => Promise<Outcome>;

/** Added to the control socket's path. */
const suffix = ".cni";
const greeting = "trireme1";
const headerBytes = 44;
/** The plugin's longest configuration, and an environment. */
const callBytesMaximum = 10 * 1024 * 1024;
const callTimeoutMs = 15_000;
const connectionsMaximum = 512;

/** Undefined where the bytes (less the first four) are no call. */
export function decodeCall(bytes: Buffer): HandedCall | undefined {
  if (bytes.length < headerBytes) return undefined;
  const inputAt = headerBytes + bytes.readUInt32LE(36);
  if (inputAt > bytes.length) return undefined;
  const identityAt = (at: number): FileIdentity => ({
    device: bytes.readBigUInt64LE(at),
    inode: bytes.readBigUInt64LE(at + 8),
  });
  const named = identityAt(20);
  return {
    environment: decodeEnvironment(bytes.toString("utf8", headerBytes, inputAt)),
    input: bytes.subarray(inputAt),
    elapsedMs: bytes.readUInt32LE(0),
    own: identityAt(4),
    named: named.inode === 0n ? undefined : named,
  };
}

/** `NAME=value`, each with its NUL; of two with one name the first counts, as in getenv(3). */
function decodeEnvironment(text: string): Record<string, string> {
  const pairs = text
    .split("\0")
    .filter((line) => line.includes("="))
    .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)] as const);
  return Object.fromEntries(pairs.reverse());
}

/** With its length. */
export function encodeOutcome(outcome: Outcome): Buffer {
  const [isDone, exitCode, text] =
    outcome === "declined" ? [0, 0, ""] : [1, outcome.exitCode, outcome.stdout];
  const body = Buffer.concat([Buffer.from([isDone, exitCode]), Buffer.from(text)]);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(body.length);
  return Buffer.concat([length, body]);
}

export interface HandoverOptions {
  /** The control socket's path. */
  readonly controlPath: string;
  readonly perform: PerformCall;
  /** User id at the other end of a connected Unix socket's descriptor. Throws `Error`. */
  readonly peerUid: (socketFd: number) => number;
  readonly log: Log;
}

/** Whoever is turned away here, or cut, does by itself what it wanted: no reason is given. */
export class HandoverServer {
  readonly #options: HandoverOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(options: HandoverOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** Rejects with `OperationError`. */
  static async listen(options: HandoverOptions): Promise<HandoverServer> {
    const server = new HandoverServer(options);
    await listenAt(server.#server, `${options.controlPath}${suffix}`);
    server.#server.on("error", (error) => options.log.error("handover socket", { problem: error.message }));
    return server;
  }

  /** Cuts every connection; calls under way are told. */
  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(socket: Socket): void {
    socket.on("error", () => socket.destroy());
    if (this.#sockets.size >= connectionsMaximum || !this.#isRoot(socket)) {
      socket.destroy();
      return;
    }
    const gone = new AbortController();
    this.#sockets.add(socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      gone.abort();
    });
    socket.write(greeting);
    void this.#serve(socket, gone.signal);
  }

  #isRoot(socket: Socket): boolean {
    try {
      return this.#options.peerUid(descriptorOf(socket)) === 0;
    } catch {
      return false;
    }
  }

  async #serve(socket: Socket, gone: AbortSignal): Promise<void> {
    const bytes = await readCall(socket);
    const call = bytes === undefined ? undefined : decodeCall(bytes);
    if (call === undefined) socket.destroy();
    else socket.end(encodeOutcome(await this.#perform(call, gone)));
  }

  /** A defect costs this call, whose own process does it then, and not the enforcer. */
  async #perform(call: HandedCall, gone: AbortSignal): Promise<Outcome> {
    try {
      return await this.#options.perform(call, gone);
    } catch (error) {
      this.#options.log.error("a call that was handed over failed", { problem: String(error) });
      return "declined";
    }
  }
}

/** One whole call, less its length; undefined where none comes in time. Leaves the socket reading, so that its end is noticed. */
function readCall(socket: Socket): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let received = 0;
    const timer = setTimeout(() => resolve(undefined), callTimeoutMs);
    const settle = (bytes: Buffer | undefined): void => {
      clearTimeout(timer);
      resolve(bytes);
    };
    socket.once("close", () => settle(undefined));
    socket.on("data", (chunk) => {
      received += chunk.length;
      if (received <= callBytesMaximum) chunks.push(chunk);
      else settle(undefined);
      const expected = (chunks[0]?.length ?? 0) >= 4 ? (chunks[0]?.readUInt32LE(0) ?? 0) : 0;
      if (received - 4 >= expected) settle(Buffer.concat(chunks).subarray(4));
    });
  });
}
