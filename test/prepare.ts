/** Installs what the tests need and the machine lacks: Debian packages, then Go programs. Says what it installs. */
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
  ["busybox", "busybox-static"],
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

async function installPackages(say: (line: string) => void): Promise<void> {
  const missing = packages.filter(([name]) => !isThere(name)).map(([, name]) => name);
  if (missing.length === 0) return;
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
  for (const step of [installPackages, installGoTools]) {
    try {
      await step(say);
    } catch (error) {
      say(`cannot install everything: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
