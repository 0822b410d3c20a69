/** nf_tables tables that a test puts into a namespace: rules that count what passes, and rules that do something to it. */
import { execOk } from "../harness/lab.ts";

/** Puts `rules` (what stands inside of a table) into a table of its own in family inet, in place of what it was. */
export async function putTable(namespace: string, name: string, rules: string): Promise<void> {
  const input = `table inet ${name} {}\ndelete table inet ${name}\ntable inet ${name} {\n${rules}\n}\n`;
  await execOk(namespace, ["nft", "-f", "-"], { input });
}

export async function dropTable(namespace: string, name: string): Promise<void> {
  await execOk(namespace, ["nft", "delete", "table", "inet", name]);
}

/** Packets that each named counter of a table has counted. */
export async function tableCounters(namespace: string, name: string): Promise<Record<string, number>> {
  const text = await execOk(namespace, ["nft", "-j", "list", "counters", "table", "inet", name]);
  const { nftables } = JSON.parse(text) as { nftables: { counter?: { name: string; packets: number } }[] };
  return Object.fromEntries(
    nftables.flatMap(({ counter }) => (counter ? [[counter.name, counter.packets]] : [])),
  );
}

/** Rules that only count: a named counter for each. `matches` is nft's language. */
export function countingRules(
  hook: string,
  priority: number,
  matches: Readonly<Record<string, string>>,
): string {
  const names = Object.keys(matches);
  const rules = names.map((name) => `${matches[name] ?? ""} counter name ${name}`);
  return [
    ...names.map((name) => `counter ${name} {}`),
    `chain count_${hook} {`,
    `type filter hook ${hook} priority ${priority}`,
    ...rules,
    "}",
  ].join("\n");
}
