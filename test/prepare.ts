/**
 * Installs what the tests need and the machine lacks: Debian packages, then Go programs. Says what it installs. As a program
 * (`make demo`, `make bench`): the packages named by its arguments.
 */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { run } from "./harness/command.ts";
import { installGoTools } from "./harness/go-tools.ts";

/** A program (or a file) and the Debian package that brings it. */
const packages: readonly (readonly [string, string])[] = [
  ["ip", "iproute2"],
  ["nft", "nftables"],
  ["sysctl", "procps"],
  ["conntrack", "conntrack"],
  ["tcpdump", "tcpdump"],
  ["tshark", "tshark"],
  ["iperf3", "iperf3"],
  ["iptables", "iptables"],
  ["/var/lib/dpkg/info/busybox-static.list", "busybox-static"],
  ["/usr/lib/cni/ptp", "containernetworking-plugins"],
  ["containerd", "containerd"],
  ["runc", "runc"],
  ["go", "golang-go"],
  ["gcc", "gcc"],
  ["/usr/include/stdlib.h", "libc6-dev"],
];

function isThere(name: string): boolean {
  if (name.startsWith("/")) return existsSync(name);
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return folders.some((folder) => existsSync(join(folder, name)));
}

async function installPackages(
  say: (line: string) => void,
  wanted = packages.map(([, name]) => name),
): Promise<void> {
  const missing = packages.filter(([name]) => !isThere(name)).map(([, name]) => name);
  const needed = missing.filter((name) => wanted.includes(name));
  if (needed.length > 0) await aptInstall(say, needed);
}

async function aptInstall(say: (line: string) => void, missing: readonly string[]): Promise<void> {
  say(`apt: ${missing.join(" ")}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", ...missing];
  if ((await run(install, { env, timeoutMs: 600_000 })).status === 0) return;
  await run(["apt-get", "-qq", "update"], { env, timeoutMs: 300_000 });
  const result = await run(install, { env, timeoutMs: 600_000 });
  if (result.status !== 0)
    throw new Error(`apt-get install ${missing.join(" ")} failed: ${result.stderr.slice(-1000)}`);
}

/** Does all it can; what could not be had is said, and the tests that need it are skipped (with CI=true: failures). */
export async function prepare(say: (line: string) => void): Promise<void> {
  for (const step of [() => installPackages(say), () => installGoTools(say)]) {
    try {
      await step();
    } catch (error) {
      say(`cannot install everything: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

if (import.meta.main) {
  await installPackages((line) => process.stdout.write(`${line}\n`), process.argv.slice(2));
}
