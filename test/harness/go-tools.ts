/**
 * Programs that exist as Go modules only: cnitool, current CNI plugins, containerd 2 and its runc; and the CRI's protocol description. They are built
 * once into a cache outside the repository ($XDG_CACHE_HOME/trireme-cni, else ~/.cache/trireme-cni), a folder for each version.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { basename, join } from "node:path";
import { run, runOk } from "./command.ts";

interface GoTool {
  /** Name of its folder in the cache, less the version. */
  readonly name: string;
  readonly version: string;
  readonly packages: readonly string[];
  readonly cgo?: boolean;
}

const cniPlugins = "github.com/containernetworking/plugins/plugins";
const containerd = "github.com/containerd/containerd/v2/cmd";
const tools = [
  { name: "cnitool", version: "1.3.1", packages: ["github.com/containernetworking/cni/cnitool"] },
  {
    name: "cni-plugins",
    version: "1.9.1",
    packages: ["main/ptp", "main/loopback", "ipam/host-local", "meta/portmap", "meta/tuning"].map(
      (path) => `${cniPlugins}/${path}`,
    ),
  },
  {
    name: "containerd",
    version: "2.4.2",
    packages: ["containerd", "containerd-shim-runc-v2", "ctr"].map((path) => `${containerd}/${path}`),
  },
  { name: "runc", version: "1.5.2", packages: ["github.com/opencontainers/runc"], cgo: true },
] as const satisfies readonly GoTool[];

const criApi = { module: "k8s.io/cri-api", version: "v0.37.0" };
/** The oldest Go that builds all of the above; a newer one is fetched, as a module too, when the machine's is older. */
const goVersion = { major: 1, minor: 26, exact: "1.26.8" };

const cacheFolder = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "trireme-cni");
const modules = join(cacheFolder, "go/pkg/mod");

/** The CRI's api.proto, of the module k8s.io/cri-api. */
export const criProto = join(modules, `${criApi.module}@${criApi.version}`, "pkg/apis/runtime/v1/api.proto");

/** Folder of a tool's executables. */
export function goToolFolder(name: (typeof tools)[number]["name"]): string {
  const version = tools.find((tool) => tool.name === name)?.version ?? "";
  return join(cacheFolder, `${name}-${version}`);
}

/** Whether everything is there, so that tests that need it can run. */
export function hasGoTools(): boolean {
  return existsSync(criProto) && tools.every(({ name }) => existsSync(goToolFolder(name)));
}

/** Builds what is missing; says each step. Throws when the modules can't be had. */
export async function installGoTools(say: (line: string) => void): Promise<void> {
  if (hasGoTools()) return;
  mkdirSync(cacheFolder, { recursive: true });
  const go = await findGo(say);
  const env = {
    ...process.env,
    GOPATH: join(cacheFolder, "go"),
    GOMODCACHE: modules,
    GOCACHE: join(cacheFolder, "go-build"),
    GOFLAGS: "-trimpath -modcacherw -buildvcs=false",
    GOTOOLCHAIN: "local",
  };
  for (const tool of tools) await buildTool(go, tool, env, say);
  if (existsSync(criProto)) return;
  say(`go: ${criApi.module} ${criApi.version}`);
  await runOk([go, "mod", "download", `${criApi.module}@${criApi.version}`], { env, timeoutMs: 300_000 });
}

async function buildTool(
  go: string,
  tool: GoTool,
  env: NodeJS.ProcessEnv,
  say: (line: string) => void,
): Promise<void> {
  const folder = join(cacheFolder, `${tool.name}-${tool.version}`);
  if (existsSync(folder)) return;
  say(`go: ${tool.name} ${tool.version} (${tool.packages.map((path) => basename(path)).join(", ")})`);
  const aside = `${folder}.${process.pid}`;
  const packages = tool.packages.map((path) => `${path}@v${tool.version}`);
  try {
    await runOk([go, "install", "-ldflags", "-s -w", ...packages], {
      env: { ...env, GOBIN: aside, CGO_ENABLED: tool.cgo === true ? "1" : "0" },
      timeoutMs: 900_000,
    });
    renameSync(aside, folder);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/** The machine's go if it is new enough, else the toolchain of that version, which is a module as well. */
async function findGo(say: (line: string) => void): Promise<string> {
  const found = await run(["go", "env", "GOVERSION"], {
    env: { ...process.env, GOTOOLCHAIN: "local" },
  }).catch(() => undefined);
  const [, major = "0", minor = "0"] = /go(\d+)\.(\d+)/.exec(found?.stdout ?? "") ?? [];
  if (found === undefined) throw new Error("go is missing: install golang-go");
  if (Number(major) === goVersion.major && Number(minor) >= goVersion.minor) return "go";
  const folder = join(cacheFolder, `go-${goVersion.exact}`);
  const go = join(folder, "bin/go");
  if (existsSync(go)) return go;
  say(`go: toolchain ${goVersion.exact} (the machine's is ${found.stdout.trim()})`);
  const module = `golang.org/toolchain@v0.0.1-go${goVersion.exact}.linux-amd64`;
  const answer = await runOk(["go", "mod", "download", "-json", module], {
    env: { ...process.env, GOPATH: join(cacheFolder, "go"), GOFLAGS: "-modcacherw" },
    timeoutMs: 300_000,
  });
  const { Dir } = JSON.parse(answer) as { Dir: string };
  const aside = `${folder}.${process.pid}`;
  await runOk(["cp", "-r", Dir, aside]);
  await runOk(["sh", "-c", 'chmod 0755 "$1"/bin/* "$1"/pkg/tool/linux_amd64/*', "sh", aside]);
  renameSync(aside, folder);
  return go;
}
