/** A containerd of one's own: folders, sockets, configuration, image; Debian's 1.6 or the 2.x that Go modules gave us. */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { runOk, waitFor, type BackgroundProcess } from "../harness/command.ts";
import type { Node } from "../harness/cluster.ts";
import { goToolFolder } from "../harness/go-tools.ts";
import { imageName, makeImage } from "./busybox-image.ts";
import { CriClient, type SandboxConfig } from "./cri.ts";

export type Generation = "1.6" | "2.4";

interface Files {
  readonly root: string;
  readonly state: string;
  readonly socket: string;
  readonly optional: string;
  readonly confDir: string;
  readonly binDir: string;
}

const programs = {
  "1.6": { folder: "/usr/bin", runc: "/usr/sbin/runc" },
  "2.4": { folder: goToolFolder("containerd"), runc: join(goToolFolder("runc"), "runc") },
} satisfies Record<Generation, { folder: string; runc: string }>;

function common(files: Files): string {
  return `
root = "${files.root}"
state = "${files.state}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri"]
[grpc]
  address = "${files.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${files.optional}"
`;
}

function configuration(generation: Generation, files: Files): string {
  const options = `BinaryName = "${programs[generation].runc}"
      Root = "${join(files.state, "runc")}"`;
  if (generation === "1.6") {
    return `version = 2
${common(files)}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${imageName}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        ${options}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${files.binDir}"
    conf_dir = "${files.confDir}"
`;
  }
  return `version = 3
${common(files)}
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "native"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "${imageName}"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      ${options}
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["${files.binDir}"]
    conf_dir = "${files.confDir}"
`;
}

export class Containerd {
  readonly generation: Generation;
  readonly node: Node;
  readonly cri: CriClient;
  readonly #cgroup: string;
  readonly #process: BackgroundProcess;

  private constructor(generation: Generation, node: Node, socket: string, process: BackgroundProcess) {
    this.generation = generation;
    this.node = node;
    this.cri = new CriClient(socket);
    this.#cgroup = `/${node.lab.id}-${node.name}`;
    this.#process = process;
  }

  /** Starts it in the node's namespace with the CNI folders given, and imports the image; it ends with the lab. */
  static async start(
    generation: Generation,
    node: Node,
    confDir: string,
    binDir: string,
  ): Promise<Containerd> {
    const folder = join(node.folder, "containerd");
    const path = (name: string) => join(folder, name);
    const files = {
      root: path("root"),
      state: path("state"),
      socket: path("c.sock"),
      optional: path("opt"),
      confDir,
      binDir,
    };
    mkdirSync(folder, { recursive: true });
    writeFileSync(path("config.toml"), configuration(generation, files));
    const program = join(programs[generation].folder, "containerd");
    const env = { ...process.env, PATH: [programs[generation].folder, process.env["PATH"]].join(":") };
    const daemon = node.lab.start(node.namespace, [program, "--config", path("config.toml")], { env });
    const containerd = new Containerd(generation, node, files.socket, daemon);
    node.lab.defer(() => containerd.#close(files.state));
    await waitFor(
      `containerd ${generation}: ${daemon.stderr.slice(-500)}`,
      () => containerd.#answers(),
      30_000,
      100,
    );
    await makeImage(folder, path("image.tar"));
    const ctr = [
      join(programs[generation].folder, "ctr"),
      "--address",
      files.socket,
      "--namespace",
      "k8s.io",
    ];
    // The transfer service of 2.x, which --local avoids, unpacks for its own default snapshotter only.
    const local = generation === "1.6" ? [] : ["--local"];
    await runOk([...ctr, "images", "import", ...local, "--snapshotter", "native", path("image.tar")]);
    return containerd;
  }

  get log(): string {
    return this.#process.stderr;
  }

  /** A pod with this name and these of our labels (by annotation). */
  config(name: string, labels: Readonly<Record<string, string>>): SandboxConfig {
    return {
      metadata: { name, namespace: "default", uid: `${this.node.lab.id}-${name}`, attempt: 0 },
      labels: { "io.kubernetes.pod.name": name },
      annotations: { "trireme-cni/labels": JSON.stringify(labels) },
      linux: { cgroup_parent: this.#cgroup },
    };
  }

  async #answers(): Promise<boolean> {
    if (this.#process.ended) throw new Error(`containerd ended: ${this.log.slice(-3000)}`);
    return this.cri.version().then(
      () => true,
      () => false,
    );
  }

  async #close(state: string): Promise<void> {
    try {
      for (const id of await this.cri.listPodSandboxes()) {
        await this.cri.stopPodSandbox(id).catch(() => undefined);
        await this.cri.removePodSandbox(id).catch(() => undefined);
      }
    } finally {
      this.cri.close();
      await this.#process.stop();
      await unmountBelow(dirname(state));
      removeCgroups(this.#cgroup);
    }
  }
}

/** Unmounts everything below a folder, deepest first. */
async function unmountBelow(folder: string): Promise<void> {
  const points = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((point) => point.startsWith(`${folder}/`))
    .reverse();
  for (const point of points) await runOk(["umount", "-l", point]);
}

/** Removes the cgroups of this name, in whatever hierarchies there are. */
function removeCgroups(name: string): void {
  const roots = ["", ...readdirSync("/sys/fs/cgroup")].map((root) => join("/sys/fs/cgroup", root));
  for (const root of roots) {
    const folder = join(root, name);
    if (!existsSync(folder)) continue;
    for (const child of readdirSync(folder, { withFileTypes: true })) {
      if (child.isDirectory()) rmdirSync(join(folder, child.name));
    }
    rmdirSync(folder);
  }
}
