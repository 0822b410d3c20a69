/** Owns where a case takes place: a folder, an enforcer and a pod of its own, and the runs of the plugin there. */
import { spawn } from "node:child_process";
import type { ChildProcess, StdioOptions } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CaseEnv, Config, Need, RunData, Verb } from "./case.ts";
import { FakeEnforcer } from "./fake-enforcer.ts";
import { Pod } from "./pod.ts";
import type { PodOptions } from "./pod.ts";

/** A run of the plugin, from start to the end of its output. */
export interface Run {
  readonly verb: Verb;
  /** What it got on standard input. */
  readonly input: string;
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stdoutBytes: Buffer;
  readonly stderr: string;
  readonly elapsedMs: number;
  /** From its exit to the end of stdout: longer only if somebody else holds it open. */
  readonly lingerMs: number;
}

/** How a run differs from a runtime's usual one. */
export interface RunOptions {
  /** In place of the plugin itself; `$PLUGIN` stands for it. */
  readonly argv?: readonly string[];
  readonly stdio?: StdioOptions;
  readonly cwd?: string;
  /** Feeds standard input in place of writing it at once. */
  readonly feed?: (child: ChildProcess, input: Buffer) => void;
  /** Ends it by SIGKILL. */
  readonly killAfterMs?: number;
  /** Takes the child as soon as it is there. */
  readonly onStart?: (child: ChildProcess) => void;
}

const containerVariables = { CNI_CONTAINERID: "$ID", CNI_NETNS: "$NETNS", CNI_IFNAME: "$IFNAME" };

const usualEnv: Readonly<Record<Verb, CaseEnv>> = {
  ADD: { ...containerVariables, CNI_PATH: "/opt/cni/bin" },
  CHECK: { ...containerVariables, CNI_PATH: "/opt/cni/bin" },
  DEL: { ...containerVariables, CNI_PATH: "/opt/cni/bin" },
  GC: { CNI_PATH: "/opt/cni/bin" },
  STATUS: {},
  VERSION: {},
};

/** Whatever else a plugin finds where an enforcer listens at `socket`; gives what ends it. */
export type Beside = (socket: string) => Promise<() => unknown>;

let count = 0;

export class Site {
  /** Path of the plugin under test. */
  readonly plugin: string;
  /** Mode 0700. The socket is in a folder below, `run`. */
  readonly folder: string;
  /** CNI_CONTAINERID unless a run says otherwise. */
  readonly containerId: string;
  readonly #undo: (() => unknown)[] = [];
  readonly #beside: Beside | undefined;
  #enforcer: FakeEnforcer | undefined;
  #pod: Pod | undefined;

  private constructor(plugin: string, beside: Beside | undefined) {
    this.plugin = plugin;
    this.#beside = beside;
    this.folder = mkdtempSync(join(tmpdir(), "trireme-conformance-"));
    this.containerId = `c${process.pid}-${count++}`;
    this.defer(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  static async open(plugin: string, need: Need, beside?: Beside): Promise<Site> {
    const site = new Site(plugin, beside);
    try {
      if (need !== "nothing") site.#enforcer = await site.listen(site.socket);
      if (need === "pod") site.#pod = await site.addPod();
      return site;
    } catch (error) {
      await site.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    for (const undo of this.#undo.reverse()) await undo();
  }

  /** Done at the end, the last one first. */
  defer(undo: () => unknown): void {
    this.#undo.push(undo);
  }

  get socket(): string {
    return join(this.folder, "run", "enforcer.sock");
  }

  get enforcer(): FakeEnforcer {
    if (this.#enforcer === undefined) throw new Error("this site has no enforcer");
    return this.#enforcer;
  }

  get pod(): Pod {
    if (this.#pod === undefined) throw new Error("this site has no pod");
    return this.#pod;
  }

  async listen(socket: string): Promise<FakeEnforcer> {
    const enforcer = await FakeEnforcer.listen(socket);
    this.defer(() => enforcer.close());
    if (this.#beside !== undefined) this.defer(await this.#beside(socket));
    return enforcer;
  }

  async addPod(options?: PodOptions): Promise<Pod> {
    const pod = await Pod.make(options);
    this.defer(() => pod.remove());
    return pod;
  }

  /** Runs the plugin on the site's pod, or on `pod`. */
  async run(data: RunData, options: RunOptions = {}, pod = this.#pod): Promise<Run> {
    const env = this.#environment(data, pod);
    const input = Buffer.from(this.#input(data, pod));
    const [program = "", ...parameters] = (options.argv ?? ["$PLUGIN"]).map((part) =>
      part.replace("$PLUGIN", this.plugin),
    );
    const startedAt = performance.now();
    const child = spawn(program, parameters, { env, cwd: options.cwd, stdio: options.stdio ?? "pipe" });
    options.onStart?.(child);
    feed(child, input, options);
    return {
      verb: data.verb,
      input: input.toString(),
      ...(await outcome(child, startedAt, options.killAfterMs)),
    };
  }

  /** The usual configuration of a run with `overrides`, `undefined` taking a member out. */
  config(overrides: Config = {}, pod = this.#pod): Config {
    const cniVersion = (overrides["cniVersion"] ?? "1.1.0") as string;
    const prevResult = pod?.result(cniVersion);
    return {
      cniVersion,
      name: "pods",
      type: "trireme-cni",
      socket: "$SOCKET",
      ...(prevResult === undefined ? {} : { prevResult }),
      ...overrides,
    };
  }

  #environment(data: RunData, pod: Pod | undefined): Record<string, string> {
    const all: CaseEnv = { CNI_COMMAND: data.verb, ...usualEnv[data.verb], ...data.env };
    const set = Object.entries(all).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, this.#fill(value, pod)] as const],
    );
    return Object.fromEntries(set);
  }

  #input({ verb, stdin }: RunData, pod: Pod | undefined): string | Uint8Array {
    if (verb === "VERSION" && stdin === undefined) return '{"cniVersion":"1.1.0"}';
    if (stdin instanceof Uint8Array) return stdin;
    if (typeof stdin === "string") return this.#fill(stdin, pod);
    const withResult = verb === "ADD" || verb === "CHECK" || verb === "DEL";
    const overrides = withResult ? stdin : { prevResult: undefined, ...stdin };
    return this.#fill(JSON.stringify(this.config(overrides, pod)), pod);
  }

  #fill(text: string, pod: Pod | undefined): string {
    return text
      .replaceAll("$SOCKET", this.socket)
      .replaceAll("$FOLDER", this.folder)
      .replaceAll("$NETNS", pod?.netns ?? join(this.folder, "no-netns"))
      .replaceAll("$IFNAME", pod?.ifname ?? "eth0")
      .replaceAll("$ID", this.containerId);
  }
}

function feed(child: ChildProcess, input: Buffer, options: RunOptions): void {
  child.stdin?.on("error", () => undefined); // A plugin need not read to the end.
  if (options.feed !== undefined) options.feed(child, input);
  else child.stdin?.end(input);
}

type Outcome = Omit<Run, "verb" | "input">;

/** Far behind every deadline: a run that hangs is a failure, not a stuck suite. */
const hangMs = 30_000;

function outcome(child: ChildProcess, startedAt: number, killAfterMs = hangMs): Promise<Outcome> {
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => stderr.push(chunk));
  const timer = setTimeout(() => child.kill("SIGKILL"), killAfterMs);
  let exitedAt = 0;
  child.once("exit", () => (exitedAt = performance.now()));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exitCode, signal) => {
      clearTimeout(timer);
      resolve({
        exitCode,
        signal,
        stdout: Buffer.concat(stdout).toString(),
        stdoutBytes: Buffer.concat(stdout),
        stderr: Buffer.concat(stderr).toString(),
        elapsedMs: exitedAt - startedAt,
        lingerMs: performance.now() - exitedAt,
      });
    });
  });
}
