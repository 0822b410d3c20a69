/** One enforcer on one node, with socket, state, keys, policy and configuration of its own, started and stopped like a service. */
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { triremeBinary } from "./binaries.ts";
import { podNetworks, type Node } from "./cluster.ts";
import { run, runOk, waitFor, type BackgroundProcess, type CommandResult } from "./command.ts";
import type { JsonObject } from "./cni-chain.ts";

export interface EnforcerOptions {
  /** `ADDRESS:PORT` for /metrics, inside the node's namespace. */
  readonly metrics?: string;
  readonly logLevel?: string;
  /** Added to, or instead of, keys of the configuration. */
  readonly config?: JsonObject;
}

/** Where one enforcer has its files. Write policy and keys before `start`. */
export class Enforcer {
  readonly node: Node;
  readonly configFile: string;
  readonly policyFile: string;
  readonly keysFolder: string;
  readonly stateFolder: string;
  readonly socket: string;
  #process: BackgroundProcess | undefined;
  readonly #options: EnforcerOptions;

  constructor(node: Node, options: EnforcerOptions = {}) {
    this.node = node;
    this.#options = options;
    this.configFile = join(node.folder, "enforcer.yaml");
    this.policyFile = join(node.folder, "policy.yaml");
    this.keysFolder = join(node.folder, "keys");
    this.stateFolder = join(node.folder, "state");
    this.socket = node.socket;
    for (const folder of [node.folder, this.keysFolder]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** Replaces the policy file by rename, as an editor does. */
  writePolicy(text: string): void {
    writeFileSync(`${this.policyFile}.new`, text);
    renameSync(`${this.policyFile}.new`, this.policyFile);
  }

  /** Writes a pre-shared key (any 32 bytes; both ends need the same) as JWK, named by its RFC 7638 thumbprint. */
  writePsk(secret: Buffer): void {
    const k = secret.toString("base64url");
    const thumbprint = createHash("sha256").update(`{"k":"${k}","kty":"oct"}`).digest("base64url");
    const folder = join(this.keysFolder, "psk");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, `${thumbprint}.jwk`), JSON.stringify({ kty: "oct", k }), { mode: 0o600 });
  }

  /** Starts the daemon and waits until `trireme status` exits 0. `program`: the command that is started instead of the built one. */
  async start(timeoutMs = 10_000, program: readonly string[] = [triremeBinary()]): Promise<void> {
    const { config, metrics, logLevel } = this.#options;
    // JSON is YAML.
    const settings = {
      version: 1,
      mode: "psk",
      trustDomain: "cluster.local",
      node: this.node.name,
      networks: { pods: podNetworks, unmanaged: this.#nodeAddresses() },
      ...config,
    };
    writeFileSync(this.configFile, JSON.stringify(settings, undefined, 2));
    const argv = [...program, "enforcer", "--config", this.configFile, "--socket", this.socket];
    argv.push("--state", this.stateFolder, "--policy", this.policyFile, "--keys", this.keysFolder);
    argv.push("--log-level", logLevel ?? "info", "--log-format", "json");
    if (metrics !== undefined) argv.push("--metrics", metrics);
    const process = this.node.lab.start(this.node.namespace, argv);
    this.#process = process;
    // Asking all the while would cost more than the start itself.
    if (logLevel === undefined) await process.waitForOutput(/"message":"ready"/, timeoutMs);
    await waitFor(
      `the enforcer of ${this.node.name}`,
      async () => {
        if (process.ended) throw new Error(`the enforcer ended: ${process.stdout}${process.stderr}`);
        return (await this.trireme(["status"])).status === 0;
      },
      timeoutMs,
    );
  }

  /** Node addresses carry no token; ptp's gateways (the first address of each node's range) neither. */
  #nodeAddresses(): JsonObject[] {
    const { index } = this.node;
    return [{ address: `10.244.${index}.1` }, { address: `fd00:244:${index}::1` }];
  }

  /** The daemon's process id, while it runs. */
  get pid(): number | undefined {
    return this.#process?.ended === false ? this.#process.pid : undefined;
  }

  /** What the daemon logged so far. */
  get log(): string {
    return `${this.#process?.stdout ?? ""}${this.#process?.stderr ?? ""}`;
  }

  /** SIGTERM; gives the exit status. */
  async stop(): Promise<number> {
    return (await this.#process?.stop()) ?? 0;
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  /** SIGHUP: policy and keys are read again. */
  reload(): void {
    this.#process?.child.kill("SIGHUP");
  }

  /** Runs `trireme COMMAND… --socket …`. */
  trireme(argv: readonly string[]): Promise<CommandResult> {
    return run([triremeBinary(), ...argv, "--socket", this.socket]);
  }

  /** Runs `trireme COMMAND… --json --socket …`, which must succeed, and parses its one document. */
  async json(argv: readonly string[]): Promise<JsonObject> {
    return JSON.parse(
      await runOk([triremeBinary(), ...argv, "--json", "--socket", this.socket]),
    ) as JsonObject;
  }

  /** The decisions so far, oldest first. */
  async flows(): Promise<JsonObject[]> {
    const lines = await runOk([triremeBinary(), "flows", "--json", "--socket", this.socket]);
    return lines
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as JsonObject);
  }
}

/** A fresh pre-shared key. */
export function newPsk(): Buffer {
  return randomBytes(32);
}
