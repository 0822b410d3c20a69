/** The package alone: packed, installed where nothing else is, its README's example run; the addon from bytes and in a bundle. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadAddonFromBytes } from "../../netlink/addon.ts";
import { TestNamespace } from "./namespaces.ts";

const source = fileURLToPath(new URL("../../netlink", import.meta.url));
const repository = fileURLToPath(new URL("../..", import.meta.url));
const addonFile = join(source, "prebuilds/linux-x64/netlink.node");

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "netlink-package-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function npm(cwd: string, ...args: readonly string[]): string {
  return execFileSync("npm", [...args, "--offline", "--no-audit", "--no-fund"], {
    cwd,
    stdio: "pipe",
  }).toString();
}

function install(): void {
  const [packed] = JSON.parse(npm(source, "pack", "--json", "--pack-destination", folder)) as {
    filename: string;
  }[];
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  npm(folder, "install", `./${packed?.filename ?? ""}`);
}

/** The README's code blocks in a language. */
function blocks(language: string): string[] {
  const readme = readFileSync(join(source, "README.md"), "utf8");
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map(
    ([, code]) => code ?? "",
  );
}

test("packed and installed in an empty folder, it runs the README's example, and its types are complete", async () => {
  install();
  const [example = ""] = blocks("js");
  const [promised] = blocks("text");
  writeFileSync(join(folder, "example.mjs"), example);
  const namespace = new TestNamespace();
  const printed = namespace.run("sh", "-c", `cd ${folder} && exec ${process.execPath} example.mjs`);
  await namespace.remove();
  expect(printed).toBe(promised);

  writeFileSync(join(folder, "types.ts"), typedUse);
  const options = {
    strict: true,
    noEmit: true,
    module: "nodenext",
    types: ["node"],
    typeRoots: [join(repository, "node_modules/@types")],
  };
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({ compilerOptions: options, files: ["types.ts"] }),
  );
  expect(diagnostics()).toBe("");
}, 120_000);

const typedUse = `
import { rule, match, action } from "@trireme-cni/netlink/nftables/builder";
import type { Table } from "@trireme-cni/netlink/nftables/model";
import { Nftables } from "@trireme-cni/netlink/nftables";
import { Conntrack } from "@trireme-cni/netlink/conntrack";
const table: Table = { family: "inet", name: "x", chains: [{ name: "y", rules: [rule(match.protocol(6), action.queue(1))] }] };
export const form: "native" | "compat" = Nftables.open({ timeoutMs: 5 }).replace([table]);
// @ts-expect-error the types are there, so this is noticed
export const wrong: string = Conntrack.open().list();`;

/** What the compiler says about the folder. */
function diagnostics(): string {
  const tsc = join(repository, "node_modules/typescript/bin/tsc");
  try {
    return execFileSync(process.execPath, [tsc, "-p", folder], { stdio: "pipe" }).toString();
  } catch (error) {
    return (error as { stdout: Buffer }).stdout.toString();
  }
}

test("in a bundle with its bytes, it needs no file beside it", async () => {
  const [, recipe = ""] = blocks("js");
  const [bytesModule = ""] = recipe.split("// entry.js");
  const local = (code: string): string =>
    code
      .replace("@trireme-cni/netlink/netlink.node", addonFile)
      .replace("@trireme-cni/netlink/addon", join(source, "addon.ts"));
  writeFileSync(join(folder, "addon-bytes.js"), local(bytesModule));
  writeFileSync(
    join(folder, "main.js"),
    `import { Route } from "${source}/route.ts";
     console.log(Route.open().links().filter(({ name }) => name === "lo").length);`,
  );
  writeFileSync(join(folder, "entry.js"), 'import "./addon-bytes.js"; import "./main.js";');
  const out = mkdtempSync(join(tmpdir(), "netlink-bundle-"));
  await build({
    entryPoints: [join(folder, "entry.js")],
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node20",
    loader: { ".node": "binary" },
    logOverride: { "empty-import-meta": "silent" },
    outfile: join(out, "single.cjs"),
  });
  expect(execFileSync(process.execPath, [join(out, "single.cjs")], { cwd: out }).toString()).toBe("1\n");
  rmSync(out, { recursive: true });
});

test("the bytes are loaded from the first folder that allows it", () => {
  mkdirSync(join(folder, "noexec"));
  copyFileSync(addonFile, join(folder, "netlink.node"));
  writeFileSync(
    join(folder, "load.mjs"),
    `import { readFileSync } from "node:fs";
     import { loadAddonFromBytes } from "${source}/addon.ts";
     const folders = process.argv.slice(2);
     console.log(typeof loadAddonFromBytes(readFileSync("${folder}/netlink.node"), folders).openSocket);`,
  );
  const load = (...folders: readonly string[]): string => {
    const script = 'mount -t tmpfs -o noexec none "$0/noexec" && shift && exec "$@"';
    const command = [script, folder, "-", process.execPath, join(folder, "load.mjs"), ...folders];
    return execFileSync("unshare", ["-m", "--propagation", "private", "sh", "-c", ...command], {
      stdio: "pipe",
    }).toString();
  };
  expect(load(join(folder, "noexec"), join(folder, "absent"), folder)).toBe("function\n");
  expect(() => load(join(folder, "noexec"), join(folder, "absent"))).toThrow(/noexec: .*absent: ENOENT/s);
});

test("what isn't an addon is refused with the reasons", () => {
  expect(() => loadAddonFromBytes(Buffer.from("not an addon"), [folder])).toThrow(
    /can't be loaded from memory/,
  );
});
