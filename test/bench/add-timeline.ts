/**
 * Where an ADD's time goes: programs that each do a part of it, in turn, medians in milliseconds. All are started as the benchmark
 * starts plugins, by nsenter in the node's namespace. Argument: rounds (15).
 */
import { cniPluginFolder, nodeBinary, pluginBinary } from "../harness/binaries.ts";
import { CniChain, type Attachment, type JsonObject, type PluginEntry } from "../harness/cni-chain.ts";
import { createCluster, type Node } from "../harness/cluster.ts";
import { namespacePath, withLab, type Lab } from "../harness/lab.ts";
import { startEnforcers } from "../integration/pair.ts";
import { join } from "node:path";
import { spreadOf } from "./statistics.ts";

/** Makes the binary step past its launcher: the plugin runs in its own process. */
const alone = { TRIREME_CNI_ELAPSED_MS: "0" };

const titles = {
  nothing: "start and end of any process (true)",
  runtime: "the JavaScript runtime alone (node -e 0)",
  version: "the plugin's own process: VERSION",
  status: "handed over: STATUS",
  add: "handed over: ADD",
  del: "handed over: DEL",
  addAlone: "the plugin's own process: ADD",
  delAlone: "the plugin's own process: DEL",
  ptp: "ptp: ADD",
} as const;
type Part = keyof typeof titles;

class Timeline {
  readonly #times = new Map<Part, number[]>();

  async measure<T>(part: Part, work: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    const result = await work();
    this.#times.set(part, [...(this.#times.get(part) ?? []), performance.now() - begun]);
    return result;
  }

  /** Without the first round, which reads files and compiles code. */
  toText(): string {
    const lines = Object.entries(titles).map(([part, title]) => {
      const { median, min, max } = spreadOf((this.#times.get(part as Part) ?? []).slice(1));
      return [title.padEnd(44), ...[median, min, max].map((ms) => ms.toFixed(1).padStart(8))].join("");
    });
    return [`${"".padEnd(44)}  median     min     max`, ...lines].join("\n");
  }
}

class Stage {
  readonly #lab: Lab;
  readonly #node: Node;
  readonly #ptp: PluginEntry;
  readonly #us: PluginEntry;

  constructor(lab: Lab, node: Node) {
    this.#lab = lab;
    this.#node = node;
    const [ptp, us] = node.networkList({ families: [4] }).plugins;
    if (ptp === undefined || us === undefined) throw new Error("the chain is ptp and us");
    this.#ptp = ptp;
    this.#us = us;
  }

  async round(timeline: Timeline, number: number): Promise<void> {
    await timeline.measure("nothing", () => this.#node.exec(["/bin/true"], { env: {} }));
    await timeline.measure("runtime", () => this.#node.exec([nodeBinary, "-e", "0"], { env: {} }));
    const namespace = await this.#lab.addNamespace("timeline");
    const pod: Attachment = {
      containerId: `timeline-${number}`,
      netnsPath: namespacePath(namespace),
      ifname: "eth0",
      args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=timeline",
    };
    await timeline.measure("version", () => this.#run("VERSION", pod, undefined, alone));
    const result = JSON.parse(await timeline.measure("ptp", () => this.#runPtp("ADD", pod))) as JsonObject;
    await timeline.measure("status", () => this.#run("STATUS", pod));
    await timeline.measure("add", () => this.#run("ADD", pod, result));
    await timeline.measure("del", () => this.#run("DEL", pod, result));
    await timeline.measure("addAlone", () => this.#run("ADD", pod, result, alone));
    await timeline.measure("delAlone", () => this.#run("DEL", pod, result, alone));
    await this.#runPtp("DEL", pod);
    await this.#lab.removeNamespace(namespace);
  }

  #runPtp(verb: string, pod: Attachment): Promise<string> {
    return this.#perform(verb, this.#ptp, pod, undefined, {});
  }

  #run(verb: string, pod: Attachment, previous?: JsonObject, environment = {}): Promise<string> {
    return this.#perform(verb, this.#us, pod, previous, environment);
  }

  async #perform(
    verb: string,
    plugin: PluginEntry,
    pod: Attachment,
    previous: JsonObject | undefined,
    environment: Record<string, string>,
  ): Promise<string> {
    const list = { cniVersion: "1.0.0", name: "pods", plugins: [] };
    const version = verb === "STATUS" ? "1.1.0" : list.cniVersion;
    const folders = [join(pluginBinary(), ".."), cniPluginFolder];
    const chain = new CniChain({ ...list, cniVersion: version }, this.#node.namespace, folders, environment);
    const { status, stdout, stderr } = await chain.run(verb, plugin, pod, previous);
    if (status !== 0) throw new Error(`${plugin.type} ${verb}: ${stdout}${stderr}`);
    return stdout;
  }
}

const rounds = Number(process.argv[2] ?? 15);
await withLab(async (lab) => {
  const node = await (await createCluster(lab)).addNode("node-a");
  await startEnforcers(lab, [node], { mode: "pki" });
  const stage = new Stage(lab, node);
  const timeline = new Timeline();
  for (let round = 0; round <= rounds; round += 1) await stage.round(timeline, round);
  process.stdout.write(`${timeline.toText()}\n`);
});
