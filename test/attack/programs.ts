/** Attack programs, compiled from `programs/` into a lab's folder, and a watcher that says which attacks came through. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { runOk, waitFor, type BackgroundProcess } from "../harness/command.ts";
import { execOk, type Lab } from "../harness/lab.ts";

const sources = join(import.meta.dirname, "programs");
const names = ["packet", "raw", "read-mark", "xdp", "watch"] as const;
type Program = (typeof names)[number];

export class AttackPrograms {
  readonly #folder: string;

  static async build(lab: Lab): Promise<AttackPrograms> {
    const folder = join(lab.folder, "programs");
    mkdirSync(folder);
    const compile = (name: Program) =>
      runOk(["cc", "-O1", "-Wall", "-Wextra", "-o", join(folder, name), join(sources, `${name}.c`)]);
    await Promise.all(names.map(compile));
    return new AttackPrograms(folder);
  }

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Runs an attack in a namespace, with no capability but CAP_NET_RAW, and gives what it printed. */
  attack(namespace: string, name: Program, ...parameters: readonly (string | number)[]): Promise<string> {
    const only = ["setpriv", "--bounding-set=-all,+net_raw", "--inh-caps=-all,+net_raw"];
    return execOk(namespace, [...only, join(this.#folder, name), ...parameters.map(String)]);
  }

  /** Watches everything that comes in by any interface of a namespace. */
  async watch(lab: Lab, namespace: string): Promise<Watcher> {
    const process = lab.start(namespace, [join(this.#folder, "watch")]);
    await process.waitForOutput(/^watching$/m);
    return new Watcher(process);
  }
}

const ARRIVAL_MS = 250;

export class Watcher {
  readonly #process: BackgroundProcess;

  constructor(process: BackgroundProcess) {
    this.#process = process;
  }

  /** Whether the frame with this word has come, or comes within a quarter of a second. */
  async saw(word: string): Promise<boolean> {
    return waitFor("the frame", () => this.hasSeen(word), ARRIVAL_MS, 20).catch(() => false);
  }

  /** Whether it has come. */
  hasSeen(word: string): boolean {
    return this.#process.stdout.includes(word);
  }
}
