/** Turns an entry module and all it imports into one CommonJS text that carries native code and its workers inside it. */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { build, type BuildOptions, type BuildResult, type Plugin } from "esbuild";

export const repository = join(import.meta.dirname, "..", "..");

/** How modules name a worker's file; in a bundle, where there is no such file, the URL carries the worker's code. */
const workerUrl = /new URL\("((?:\.\.?\/)+(?:[\w-]+\/)*(?:[\w-]+-)?worker\.ts)", import\.meta\.url\)/g;

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

async function bundleWorker(worker: string): Promise<string> {
  const result = await build({
    ...options,
    entryPoints: [worker],
    format: "esm",
    // CommonJS dependencies inside an ES module ask for built-in modules only.
    banner: { js: "const require = (name) => process.getBuiltinModule(name);" },
  });
  return plainText(result);
}

/** Puts workers, each bundled once, where modules name their files. */
function embedWorkers(): Plugin {
  const bundled = new Map<string, Promise<string>>();
  const codeOf = (worker: string): Promise<string> => {
    const code = bundled.get(worker) ?? bundleWorker(worker);
    bundled.set(worker, code);
    return code;
  };
  return {
    name: "embed-workers",
    setup(build) {
      build.onLoad({ filter: /\/enforcer\/.*\.ts$/ }, async ({ path }) => {
        let text = await readFile(path, "utf8");
        const named = [...text.matchAll(workerUrl)];
        if (named.length === 0) return undefined;
        for (const [expression, file = ""] of named) {
          const code = Buffer.from(await codeOf(join(dirname(path), file))).toString("base64");
          text = text.replace(expression, () => `new URL("data:text/javascript;base64,${code}")`);
        }
        return { contents: text, loader: "ts" };
      });
    },
  };
}

/**
 * Of what isn't ASCII, the bundler leaves only comments as they are. One such character, and V8 keeps two bytes for each character of the
 * whole text.
 */
function plainText({ outputFiles }: BuildResult<typeof options>): string {
  return (outputFiles[0]?.text ?? "").replace(/[^\0-\x7f]/g, "?");
}

/** Bundles the module at `entry` (an absolute path). Throws when the worker's file is named in a way that it can't embed. */
export async function bundle(entry: string): Promise<string> {
  const result = await build({ ...options, entryPoints: [entry], format: "cjs", plugins: [embedWorkers()] });
  const text = plainText(result);
  if (/["'/-]worker\.ts["']/.test(text))
    throw new Error(`${entry} starts a worker from a file that won't be there`);
  return text;
}
