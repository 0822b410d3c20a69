/** Owns a pod as a primary plugin leaves it: a network namespace with an interface and addresses. Uses iproute2's `ip`. */
import { execFile, execFileSync } from "node:child_process";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import type { Json } from "./case.ts";

const execute = promisify(execFile);
let count = 0;

export interface PodOptions {
  /** Addresses with prefix lengths; the default is one of each family. */
  readonly addresses?: readonly string[];
  readonly ifname?: string;
  /** Kind of the pod's interface: a veth pair with its peer in a second namespace, or a bridge. */
  readonly kind?: "veth" | "bridge";
}

/** Runs a program to its end and gives its stdout; throws if it fails. */
export async function command(program: string, ...parameters: readonly string[]): Promise<string> {
  return (await execute(program, parameters, { maxBuffer: 1 << 26 })).stdout;
}

export class Pod {
  /** Name of the namespace below /run/netns; the peer's is the same with `-peer`. */
  readonly name: string;
  readonly ifname: string;
  readonly addresses: readonly string[];
  readonly #hasPeer: boolean;

  private constructor(name: string, options: PodOptions) {
    this.name = name;
    this.ifname = options.ifname ?? "eth0";
    this.addresses = options.addresses ?? ["10.99.0.2/24", "fd99::2/64"];
    this.#hasPeer = options.kind !== "bridge";
  }

  static async make(options: PodOptions = {}): Promise<Pod> {
    const pod = new Pod(`tconf${process.pid}x${count++}`, options);
    try {
      await pod.#build();
      return pod;
    } catch (error) {
      pod.remove();
      throw error;
    }
  }

  get netns(): string {
    return `/run/netns/${this.name}`;
  }

  /** Runs a program inside the namespace; throws if it fails. */
  exec(...argv: readonly string[]): Promise<string> {
    return command("ip", "netns", "exec", this.name, ...argv);
  }

  /** Runs a program at the other end of the pod's link. */
  execAtPeer(...argv: readonly string[]): Promise<string> {
    return command("ip", "netns", "exec", `${this.name}-peer`, ...argv);
  }

  /** Waits until the kernel has noticed that both ends of the link are up; it does so a little later than it says. */
  async settle(): Promise<void> {
    const isUp = async (
      look: (...argv: readonly string[]) => Promise<string>,
      ifname: string,
    ): Promise<boolean> => (await look("ip", "-o", "link", "show", ifname)).includes("state UP");
    for (let tries = 0; tries < 100; tries++) {
      const ends = [
        isUp((...argv) => this.exec(...argv), this.ifname),
        isUp((...argv) => this.execAtPeer(...argv), "peer0"),
      ];
      if ((await Promise.all(ends)).every(Boolean)) return;
      await setTimeout(50);
    }
    throw new Error(`the link of ${this.name} does not come up`);
  }

  /** The result of the plugin that made it, in the form of CNI 1.0.0. */
  result(cniVersion = "1.1.0"): { readonly [key: string]: Json } {
    const old = cniVersion.startsWith("0.");
    return {
      cniVersion,
      interfaces: [
        { name: "vethpeer", mac: "2e:00:00:00:00:01" },
        { name: this.ifname, mac: "2e:00:00:00:00:02", sandbox: this.netns },
      ],
      ips: this.addresses.map((address) => ({
        ...(old ? { version: address.includes(":") ? "6" : "4" } : {}),
        interface: 1,
        address,
      })),
      routes: [{ dst: "0.0.0.0/0" }],
      dns: {},
    };
  }

  /** Safe to call twice, and from an exit handler. */
  remove(): void {
    for (const name of [this.name, `${this.name}-peer`]) {
      try {
        execFileSync("ip", ["netns", "del", name], { stdio: "ignore" });
      } catch {
        // It isn't there (any more).
      }
    }
  }

  async #build(): Promise<void> {
    await command("ip", "netns", "add", this.name);
    await this.exec("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0");
    if (this.#hasPeer) await this.#addVeth();
    else await command("ip", "-n", this.name, "link", "add", this.ifname, "type", "bridge");
    for (const address of this.addresses) {
      await command("ip", "-n", this.name, "address", "add", address, "dev", this.ifname);
    }
    await command("ip", "-n", this.name, "link", "set", this.ifname, "up");
    await command("ip", "-n", this.name, "link", "set", "lo", "up");
  }

  async #addVeth(): Promise<void> {
    const peer = `${this.name}-peer`;
    await command("ip", "netns", "add", peer);
    await this.execAtPeer("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0");
    await command(
      "ip",
      "-n",
      this.name,
      "link",
      "add",
      this.ifname,
      "type",
      "veth",
      "peer",
      "name",
      "peer0",
      "netns",
      peer,
    );
    await command("ip", "-n", peer, "address", "add", "10.99.0.1/24", "dev", "peer0");
    await command("ip", "-n", peer, "link", "set", "peer0", "up");
    await command("ip", "-n", peer, "link", "set", "lo", "up");
  }
}
