/** `make`: bundles the two programs and makes a single executable of each. Arguments: the output folder, and names of programs (all). */
import { mkdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { bundle, repository } from "./bundle.ts";
import { graftLauncher } from "./graft-launcher.ts";
import { makeSingleBinary } from "./single-binary.ts";

const programs = [
  { name: "trireme-cni", entry: "plugin/main.ts", finish: graftLauncher },
  { name: "trireme", entry: "enforcer/main.ts", finish: () => undefined },
];

const [, , out = join(repository, "build"), ...names] = process.argv;
const folder = resolve(out);
mkdirSync(folder, { recursive: true });
for (const { name, entry, finish } of programs) {
  if (names.length > 0 && !names.includes(name)) continue;
  const output = join(folder, name);
  await makeSingleBinary(await bundle(join(repository, entry)), output, finish);
  console.log(`  ${name}: ${Math.round(statSync(output).size / 1e6)} MB`);
}
