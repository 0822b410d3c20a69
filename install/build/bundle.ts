/** Turns an entry module and all it imports into one CommonJS text that carries the native addon and the datapath worker inside it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { build, type BuildOptions, type Plugin } from "esbuild";

export const repository = join(import.meta.dirname, "..", "..");

const worker = join(repository, "enforcer/datapath/worker.ts");
/** How modules name the worker's file; in a bundle, where there is no such file, the URL carries the worker's code. */
const workerUrl = /new URL\("(?:\.\.?\/)+(?:datapath\/)?worker\.ts", import\.meta\.url\)/g;

const options = {
  bundle: true,
  write: false,
  platform: "node",
  target: "node24",
  minifySyntax: true,
  legalComments: "none",
  loader: { ".node": "binary" },
  inject: [join(import.meta.dirname, "embed-addon.ts")],
  logLevel: "warning",
} as const satisfies BuildOptions;

async function bundleWorker(): Promise<string> {
  const result = await build({
    ...options,
    entryPoints: [worker],
    format: "esm",
    // CommonJS dependencies inside an ES module ask for built-in modules only.
    banner: { js: "const require = (name) => process.getBuiltinModule(name);" },
  });
  return result.outputFiles[0]?.text ?? "";
}

/** Puts the worker, bundled once, where modules name its file. */
function embedWorker(): Plugin {
  let code: Promise<string> | undefined;
  return {
    name: "embed-worker",
    setup(build) {
      build.onLoad({ filter: /\/enforcer\/.*\.ts$/ }, async ({ path }) => {
        const text = await readFile(path, "utf8");
        if (text.search(workerUrl) === -1) return undefined;
        code ??= bundleWorker();
        const url = `data:text/javascript;base64,${Buffer.from(await code).toString("base64")}`;
        return { contents: text.replace(workerUrl, `new URL(${JSON.stringify(url)})`), loader: "ts" };
      });
    },
  };
}

/** Bundles the module at `entry` (an absolute path). Throws when the worker's file is named in a way that it can't embed. */
export async function bundle(entry: string): Promise<string> {
  const result = await build({ ...options, entryPoints: [entry], format: "cjs", plugins: [embedWorker()] });
  const text = result.outputFiles[0]?.text ?? "";
  if (/["'/]worker\.ts["']/.test(text))
    throw new Error(`${entry} starts a worker from a file that won't be there`);
  return text;
}
