/**
 * The launcher in the built binary, before every kind of enforcer: it brings calls there and answers back, and steps aside from whatever
 * isn't one.
 */
import { spawn } from "node:child_process";
import { chmodSync, chownSync, closeSync, mkdirSync, mkdtempSync, openSync, rmSync, statSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  encodeOutcome,
  HandoverServer,
  type HandedCall,
  type Outcome,
} from "../../enforcer/control/handover.ts";
import { Logger } from "../../enforcer/telemetry/log.ts";
import { getPeerCredentials } from "../../netlink/netns.ts";
import packageJson from "../../package.json" with { type: "json" };
import { pluginBinary } from "../harness/binaries.ts";
import { run, type CommandResult } from "../harness/command.ts";

let folder: string;
let socket: string;
const undo: (() => unknown)[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "launcher-"));
  mkdirSync(join(folder, "run"), { mode: 0o700 });
  socket = join(folder, "run", "enforcer.sock");
  undo.push(() => rmSync(folder, { recursive: true }));
});
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

const config = (members: object = {}): string =>
  JSON.stringify({ cniVersion: "1.1.0", name: "pods", type: "trireme-cni", socket, ...members });

function call(verb: string, input: string, env: Record<string, string> = {}): Promise<CommandResult> {
  return run([pluginBinary()], { env: { CNI_COMMAND: verb, ...env }, input });
}

const log = new Logger({ level: "error", format: "json", write: () => undefined });

/** An enforcer that takes calls and gives `outcome`; undefined: it fails. */
async function takeCalls(outcome: Outcome | undefined): Promise<HandedCall[]> {
  const calls: HandedCall[] = [];
  const server = await HandoverServer.listen({
    controlPath: socket,
    perform: (handed) => {
      calls.push(handed);
      return outcome === undefined ? Promise.reject(new Error("a defect")) : Promise.resolve(outcome);
    },
    peerUid: (fd) => getPeerCredentials(fd).uid,
    log,
  });
  undo.push(() => server.close());
  return calls;
}

/** Whatever else may listen there; gives the number of connections and of bytes that came. */
async function listen(
  onConnection: (connection: Socket) => void,
): Promise<{ connections: number; bytes: number }> {
  const seen = { connections: 0, bytes: 0 };
  const connections = new Set<Socket>();
  const server: Server = createServer((connection) => {
    seen.connections += 1;
    connections.add(connection);
    connection.on("error", () => undefined);
    connection.on("data", (bytes) => (seen.bytes += bytes.length));
    onConnection(connection);
  });
  await new Promise<void>((resolve) => server.listen(`${socket}.cni`, resolve));
  undo.push(() => {
    for (const connection of connections) connection.destroy();
    server.close();
  });
  return seen;
}

/** What the plugin's own process says where no enforcer is. */
const ownAnswer = { status: 1, stdout: expect.stringContaining('"code":50') as string };

describe("a call that is taken over", () => {
  it("arrives whole, and its answer is the plugin's", async () => {
    const calls = await takeCalls({ stdout: "the answer\n", exitCode: 7 });
    const netns = "/proc/self/ns/net";
    const input = config({ args: { x: "ä".repeat(300_000) } });
    const env = { CNI_CONTAINERID: "c=1", CNI_NETNS: netns, CNI_IFNAME: "", HOME: "/", CNI_ARGS: "ä;b" };
    expect(await call("ADD", input, env)).toEqual({ status: 7, stdout: "the answer\n", stderr: "" });
    const own = statSync(netns, { bigint: true });
    const identity = { device: own.dev, inode: own.ino };
    expect(calls).toEqual([
      {
        environment: {
          CNI_COMMAND: "ADD",
          CNI_CONTAINERID: "c=1",
          CNI_NETNS: netns,
          CNI_IFNAME: "",
          CNI_ARGS: "ä;b",
        },
        input: Buffer.from(input),
        elapsedMs: expect.any(Number) as number,
        own: identity,
        named: identity,
      },
    ]);
  });

  it.each(["ADD", "DEL", "CHECK", "GC", "STATUS"])("may be %s, and answer nothing", async (verb) => {
    const calls = await takeCalls({ stdout: "", exitCode: 0 });
    expect(await call(verb, config(), { CNI_NETNS: "/nowhere" })).toEqual({
      status: 0,
      stdout: "",
      stderr: "",
    });
    expect(calls.map(({ environment, named }) => [environment["CNI_COMMAND"], named])).toEqual([
      [verb, undefined],
    ]);
  });

  it("has an answer of any length, also into a full pipe", async () => {
    await takeCalls({ stdout: "x".repeat(3_000_000), exitCode: 0 });
    expect((await call("STATUS", config())).stdout).toHaveLength(3_000_000);
  });

  it("is a failure without a word when nobody reads the answer", async () => {
    await takeCalls({ stdout: "x".repeat(3_000_000), exitCode: 0 });
    const child = spawn(pluginBinary(), { env: { CNI_COMMAND: "STATUS" }, stdio: "pipe" });
    child.stdout.destroy();
    child.stdin.end(config());
    const status = await new Promise((resolve) => child.once("close", resolve));
    expect(status).toBe(1);
  });

  it("goes where the configuration says, however it is written", async () => {
    const calls = await takeCalls({ stdout: "", exitCode: 0 });
    const spaced = `{ "name": "socket", "x" : ["socket"],\n "socket" \t:\n "${socket}" }`;
    expect((await call("STATUS", spaced)).status).toBe(0);
    expect(calls).toHaveLength(1);
  });
});

describe("a call that is not taken over runs in its own process", () => {
  const manners: Record<string, (connection: Socket) => void> = {
    "says nothing": () => undefined,
    "greets otherwise": (connection) => connection.write("trireme9"),
    "hangs up": (connection) => connection.destroy(),
    "greets half": (connection) => connection.end("trir"),
  };
  it.each(Object.entries(manners))(
    "when whoever listens %s; then nothing was sent",
    async (_name, manner) => {
      const seen = await listen(manner);
      expect(await call("STATUS", config())).toMatchObject(ownAnswer);
      expect(seen).toEqual({ connections: 1, bytes: 0 });
    },
  );

  const answers: Record<string, Buffer | undefined> = {
    declines: encodeOutcome("declined"),
    "is gone": undefined,
    "answers half": encodeOutcome({ stdout: "{}", exitCode: 0 }).subarray(0, -1),
    "answers beyond all bounds": Buffer.from("ffffffff0100", "hex"),
    "answers without an exit code": Buffer.from("010000000100", "hex"),
  };
  it.each(Object.entries(answers))("when the enforcer has the call and %s", async (_name, answer) => {
    const seen = await listen((connection) => {
      connection.write("trireme1");
      connection.once("data", () => (answer === undefined ? connection.destroy() : connection.end(answer)));
    });
    expect(await call("STATUS", config())).toMatchObject(ownAnswer);
    expect(seen.bytes).toBeGreaterThan(0);
  });

  it("when taking it over fails, and the enforcer lives on", async () => {
    const calls = await takeCalls(undefined);
    expect(await call("STATUS", config())).toMatchObject(ownAnswer);
    expect(await call("STATUS", config())).toMatchObject(ownAnswer);
    expect(calls).toHaveLength(2);
  });

  it("when no answer comes in the verb's time", async () => {
    await listen((connection) => connection.write("trireme1"));
    const { status, stdout } = await call("STATUS", config());
    // 11 where the machine is so slow that the verb's own time is up before it has asked.
    expect([status, stdout]).toEqual([1, expect.stringMatching(/"code":(50|11),/)]);
  });

  it("when standard input does not end, within the verb's time", async () => {
    const seen = await listen(() => undefined);
    const child = spawn(pluginBinary(), { env: { CNI_COMMAND: "STATUS" }, stdio: "pipe" });
    child.stdin.write(config());
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    expect(await new Promise((resolve) => child.once("close", resolve))).toBe(1);
    expect(Buffer.concat(chunks).toString()).toContain('"code":11');
    expect(seen.connections).toBe(0);
  });

  it("when somebody else could have put the socket there", async () => {
    const calls = await takeCalls({ stdout: "", exitCode: 0 });
    chownSync(`${socket}.cni`, 65_534, 65_534);
    expect((await call("STATUS", config())).status).toBe(1);
    chownSync(`${socket}.cni`, 0, 0);
    chmodSync(join(folder, "run"), 0o755);
    expect((await call("STATUS", config())).status).toBe(1);
    expect(calls).toEqual([]);
  });

  it("when it is longer than the plugin takes", async () => {
    const calls = await takeCalls({ stdout: "", exitCode: 0 });
    const { status, stdout } = await call("STATUS", config({ x: "x".repeat(9_000_000) }));
    expect([status, stdout]).toEqual([1, expect.stringContaining('"code":6')]);
    expect(calls).toEqual([]);
  });

  it("when it is no verb that is handed over, or has no standard input", async () => {
    const seen = await listen(() => undefined);
    expect((await call("VERSION", config())).status).toBe(0);
    expect((await call("ADDED", config())).stdout).toContain('"code":4');
    expect((await run([pluginBinary(), "--version"], { env: { CNI_COMMAND: "ADD" } })).stdout).toBe(
      `${packageJson.version}\n`,
    );
    const fromFolder = openSync("/", "r");
    const child = spawn(pluginBinary(), {
      env: { CNI_COMMAND: "STATUS" },
      stdio: [fromFolder, "pipe", "pipe"],
    });
    expect(await new Promise((resolve) => child.once("close", resolve))).toBe(1);
    closeSync(fromFolder);
    expect(seen.connections).toBe(0);
  });
});
