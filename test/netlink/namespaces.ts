/** Network namespaces for the integration tests of netlink: made by iproute2, removed when the test is over. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeFd, openNetns } from "../../netlink/netns.ts";

let made = 0;

export class TestNamespace {
  readonly name: string;
  readonly path: string;
  readonly fd: number;
  readonly #children: ChildProcess[] = [];

  constructor() {
    this.name = `netlink-${process.pid}-${made++}`;
    this.path = `/run/netns/${this.name}`;
    execFileSync("ip", ["netns", "add", this.name]);
    this.fd = openNetns(this.path);
    this.run("ip", "link", "set", "lo", "up");
  }

  /** Runs a command inside; returns its output. */
  run(command: string, ...args: readonly string[]): string {
    return execFileSync("ip", ["netns", "exec", this.name, command, ...args], { stdio: "pipe" }).toString();
  }

  nft(script: string): string {
    return execFileSync("ip", ["netns", "exec", this.name, "nft", "-f", "-"], {
      input: script,
      stdio: "pipe",
    }).toString();
  }

  /** Starts a Node script inside; `data` of its stdout comes by line. */
  node(script: string): ChildProcess {
    const args = ["netns", "exec", this.name, process.execPath, "--input-type=module", "-e", script];
    const child = spawn("ip", args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#children.push(child);
    return child;
  }

  /** Stops what was started inside, and lets go. */
  async remove(): Promise<void> {
    await Promise.all(this.#children.map(stop));
    closeFd(this.fd);
    execFileSync("ip", ["netns", "del", this.name]);
  }
}

/** A veth pair, "eth0" in both, with addresses of both families: 10.9.0.1 and fd09::1, 10.9.0.2 and fd09::2. */
export function join(a: TestNamespace, b: TestNamespace): void {
  a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.name);
  for (const [namespace, host] of [
    [a, 1],
    [b, 2],
  ] as const) {
    namespace.run("ip", "address", "add", `10.9.0.${host}/24`, "dev", "eth0");
    namespace.run("ip", "address", "add", `fd09::${host}/64`, "dev", "eth0", "nodad");
    namespace.run("ip", "link", "set", "eth0", "up");
  }
}

/** The next chunk of a child's output. */
export async function output(child: ChildProcess): Promise<string> {
  const [data] = (await once(child.stdout ?? child, "data")) as [Buffer];
  return data.toString().trim();
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}
