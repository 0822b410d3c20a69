/** The application in a pod that an attack is after: what it does, and what has reached it. */
import { join } from "node:path";
import { nodeBinary } from "../harness/binaries.ts";
import type { Pod } from "../harness/cluster.ts";
import { waitFor, type BackgroundProcess } from "../harness/command.ts";
import type { Enforcer } from "../harness/enforcer.ts";
import type { Lab } from "../harness/lab.ts";

const program = join(import.meta.dirname, "programs/victim.ts");
let serial = 0;

export interface Dial {
  readonly host: string;
  readonly port: number;
  readonly localPort: number;
  /** Written as soon as the connection is there. */
  readonly say?: string;
}

export class Victim {
  readonly pod: Pod;
  readonly enforcer: Enforcer;
  readonly #process: BackgroundProcess;

  constructor(lab: Lab, pod: Pod, enforcer: Enforcer) {
    this.pod = pod;
    this.enforcer = enforcer;
    this.#process = lab.start(pod.namespace, [nodeBinary, program]);
  }

  get address(): string {
    return this.pod.address;
  }

  async listen(port: number): Promise<void> {
    this.#tell({ do: "listen", port });
    await this.#process.waitForOutput(new RegExp(`^listening ${port}$`, "m"));
  }

  /** Dials, and gives what the connection is called in `connected`. */
  dial({ host, port, localPort, say = "" }: Dial): string {
    const id = `dial${serial++}`;
    this.#tell({ do: "connect", id, host, port, localPort, say });
    return id;
  }

  /** Waits for a connection to be there. */
  async connected(id: string): Promise<void> {
    await this.#process.waitForOutput(new RegExp(`^connected ${id}$`, "m"));
  }

  /** Waits until the application has a connection from this port. */
  async accepted(remotePort: number): Promise<void> {
    await this.#process.waitForOutput(new RegExp(`^accepted \\S+ ${remotePort}$`, "m"));
  }

  /** Whether these bytes have reached the application. */
  heard(word: string): boolean {
    return this.#process.stdout.includes(word);
  }

  /** All that has reached it. */
  get everything(): string {
    const pieces = this.#process.stdout.matchAll(/^heard (".*")$/gm);
    return [...pieces].map(([, text = '""']) => JSON.parse(text) as string).join("");
  }

  async hears(word: string): Promise<void> {
    await waitFor(`"${word}" at ${this.pod.name}`, () => this.heard(word));
  }

  /** Ends all connections with RST: nothing is sent again. */
  end(): void {
    this.#tell({ do: "end" });
  }

  #tell(command: object): void {
    this.#process.child.stdin?.write(`${JSON.stringify(command)}\n`);
  }
}
