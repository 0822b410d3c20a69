/** Owns the files that are made from the source: JSON schemas for editors, and the list of reasons. Run it to write them; a test compares. */
import { writeFileSync } from "node:fs";
import { format } from "prettier";
import * as z from "zod";
import { policyFileSchema } from "../../enforcer/policy/policy-schema.ts";
import { reasonTexts } from "../../enforcer/reason.ts";
import { configFileSchema } from "../../enforcer/config/config-schema.ts";

/** Path from the root → content, formatted as everything else is. */
export async function publishedFiles(): Promise<ReadonlyMap<string, string>> {
  return new Map([
    ["enforcer/policy/policy.schema.json", await formatSchema("trireme-cni policy file", policyFileSchema)],
    [
      "enforcer/config/enforcer.schema.json",
      await formatSchema("trireme-cni enforcer configuration", configFileSchema),
    ],
    ["enforcer/REASONS.md", await format(formatReasons(), { parser: "markdown", printWidth: 110 })],
  ]);
}

/** What a file may say before defaults are applied. */
function formatSchema(title: string, schema: z.ZodType): Promise<string> {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: "input" });
  return format(JSON.stringify({ $schema, title, ...rest }, null, 2), { parser: "json", printWidth: 110 });
}

function formatReasons(): string {
  const rows = Object.entries(reasonTexts).map(([reason, text]) => `| \`${reason}\` | ${text} |`);
  const head = [
    "# Reasons",
    "",
    "Why a packet, a connection or a message got its verdict: the names in `trireme flows`, in logs, and the label `reason` of",
    "`trireme_connections_total`. The list is closed, and a name never changes its meaning. Made from `reason.ts` by",
    "`node test/config/publish.ts`.",
    "",
    "| reason | meaning |",
    "|---|---|",
  ];
  return `${[...head, ...rows].join("\n")}\n`;
}

if (import.meta.main) {
  const root = new URL("../../", import.meta.url);
  for (const [path, content] of await publishedFiles()) writeFileSync(new URL(path, root), content);
}
