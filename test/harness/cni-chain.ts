/** A network configuration list executed as a runtime does it: plugin after plugin for ADD, in reverse for DEL (CNI SPEC 1.1.0, section 3). */
import { join } from "node:path";
import { existsSync } from "node:fs";
import { exec } from "./lab.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json | undefined };
export type JsonObject = { [key: string]: Json | undefined };
export type PluginEntry = JsonObject & { type: string };

export interface NetworkList {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly PluginEntry[];
}

/** What the runtime says about one attachment. */
export interface Attachment {
  readonly containerId: string;
  readonly netnsPath: string;
  readonly ifname: string;
  /** CNI_ARGS. */
  readonly args?: string;
  /** Only capabilities that a plugin declares reach it. */
  readonly runtimeConfig?: JsonObject;
}

export interface PluginResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A plugin that failed: which one, for which verb, and its CNI error object where it printed one. */
class PluginFailure extends Error {
  readonly plugin: string;
  readonly verb: string;
  readonly result: PluginResult;

  constructor(plugin: string, verb: string, result: PluginResult) {
    super(`${plugin} ${verb}: exit status ${result.status}: ${result.stdout}${result.stderr}`);
    this.plugin = plugin;
    this.verb = verb;
    this.result = result;
  }

  /** CNI error code of the answer, or undefined. */
  get code(): number | undefined {
    try {
      return (JSON.parse(this.result.stdout) as { code?: number }).code;
    } catch {
      return undefined;
    }
  }
}

export class CniChain {
  readonly list: NetworkList;
  readonly #namespace: string | undefined;
  readonly #pluginFolders: readonly string[];
  readonly #environment: Readonly<Record<string, string>>;

  /** `namespace`: the node's, in which plugins are executed. `pluginFolders`: CNI_PATH. `environment`: what plugins get beside CNI_*. */
  constructor(
    list: NetworkList,
    namespace: string | undefined,
    pluginFolders: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ) {
    this.list = list;
    this.#namespace = namespace;
    this.#pluginFolders = pluginFolders;
    this.#environment = environment;
  }

  /** ADDs through the whole list and gives the last result. On failure throws PluginFailure; the caller DELs, as runtimes do. */
  async add(attachment: Attachment): Promise<JsonObject> {
    let previous: JsonObject | undefined;
    for (const plugin of this.list.plugins) {
      previous = JSON.parse(await this.#mustRun("ADD", plugin, attachment, previous)) as JsonObject;
    }
    return previous ?? {};
  }

  /** CHECKs plugin after plugin with the result of ADD. */
  async check(attachment: Attachment, result: JsonObject): Promise<void> {
    for (const plugin of this.list.plugins) await this.#mustRun("CHECK", plugin, attachment, result);
  }

  /** DELs in reverse order; every plugin gets its turn, then the first failure is thrown. */
  async del(attachment: Attachment, result?: JsonObject): Promise<void> {
    const failures: unknown[] = [];
    for (const plugin of [...this.list.plugins].reverse()) {
      await this.#mustRun("DEL", plugin, attachment, result).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0] as Error;
  }

  /** Runs one verb of one plugin with an environment of CNI_* and what the chain was given. */
  run(
    verb: string,
    plugin: PluginEntry,
    attachment: Attachment,
    previous?: JsonObject,
  ): Promise<PluginResult> {
    const { cniVersion, name } = this.list;
    const declared = (plugin["capabilities"] ?? {}) as JsonObject;
    const runtimeConfig = Object.fromEntries(
      Object.entries(attachment.runtimeConfig ?? {}).filter(([key]) => declared[key] === true),
    );
    const config: JsonObject = {
      ...plugin,
      cniVersion,
      name,
      ...(Object.keys(runtimeConfig).length > 0 ? { runtimeConfig } : {}),
      ...(previous === undefined ? {} : { prevResult: previous }),
    };
    return exec(this.#namespace, [this.#find(plugin.type)], {
      input: JSON.stringify(config),
      env: {
        ...this.#environment,
        CNI_COMMAND: verb,
        CNI_CONTAINERID: attachment.containerId,
        CNI_NETNS: attachment.netnsPath,
        CNI_IFNAME: attachment.ifname,
        CNI_ARGS: attachment.args ?? "",
        CNI_PATH: this.#pluginFolders.join(":"),
      },
    });
  }

  async #mustRun(
    verb: string,
    plugin: PluginEntry,
    attachment: Attachment,
    previous?: JsonObject,
  ): Promise<string> {
    const result = await this.run(verb, plugin, attachment, previous);
    if (result.status !== 0) throw new PluginFailure(plugin.type, verb, result);
    return result.stdout;
  }

  #find(type: string): string {
    for (const folder of this.#pluginFolders) {
      const path = join(folder, type);
      if (existsSync(path)) return path;
    }
    throw new Error(`plugin ${type} is not in ${this.#pluginFolders.join(", ")}`);
  }
}
