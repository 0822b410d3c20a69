/** Owns the files that are made from the source: JSON schemas for editors, and the list of reasons. Run it to write them; a test compares. */
import { writeFileSync } from "node:fs";
import * as z from "zod";
import { policyFileSchema } from "../policy/policy-schema.ts";
import { reasonTexts } from "../reason.ts";
import { configFileSchema } from "./config-schema.ts";

/** Path from this folder → content. */
export function publishedFiles(): ReadonlyMap<string, string> {
  return new Map([
    ["../policy/policy.schema.json", formatSchema("trireme-cni policy file", policyFileSchema)],
    ["enforcer.schema.json", formatSchema("trireme-cni enforcer configuration", configFileSchema)],
    ["../REASONS.md", formatReasons()],
  ]);
}

/** What a file may say before defaults are applied. */
function formatSchema(title: string, schema: z.ZodType): string {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: "input" });
  return `${JSON.stringify({ $schema, title, ...rest }, null, 2)}\n`;
}

function formatReasons(): string {
  const rows = Object.entries(reasonTexts).map(([reason, text]) => `| \`${reason}\` | ${text} |`);
  const head = [
    "# Reasons",
    "",
    "Why a packet, a connection or a message got its verdict: the names in `trireme flows`, in logs, and the label `reason` of",
    "`trireme_connections_total`. The list is closed, and a name never changes its meaning. Made from `reason.ts` by",
    "`node enforcer/config/publish-schemas.ts`.",
    "",
    "| reason | meaning |",
    "|---|---|",
  ];
  return `${[...head, ...rows].join("\n")}\n`;
}

if (import.meta.main) {
  for (const [path, content] of publishedFiles()) writeFileSync(new URL(path, import.meta.url), content);
}
