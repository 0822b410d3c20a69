/** Group H: CHECK. */
import assert from "node:assert/strict";
import { encodeError } from "../../enforcer/control/messages.ts";
import { eachRun, expectFailure, expectOutcome, steps } from "../case.ts";
import type { Case, RunData } from "../case.ts";
import { command } from "../pod.ts";
import type { Table } from "../../netlink/nftables/model.ts";
import { alterations, readTables, replaceTable, withoutSeal } from "../rules.ts";
import type { Site } from "../site.ts";

const check: RunData = { verb: "CHECK" };

async function added(site: Site): Promise<void> {
  expectOutcome(await site.run({ verb: "ADD" }), "success");
}

async function inOneGo(site: Site): Promise<void> {
  await added(site);
  for (let round = 0; round < 100; round += 5) {
    const runs = await Promise.all(Array.from({ length: 5 }, () => site.run(check)));
    for (const run of runs) expectOutcome(run, "success");
  }
}

/** Each rule deleted, each altered, and more; the untouched set passes again after each tenth. */
async function everyAlteration(site: Site): Promise<void> {
  await added(site);
  const tables = readTables(site.pod.netns);
  assert.ok(tables.length > 0);
  for (const table of tables) await everyAlterationOf(site, table);
}

async function everyAlterationOf(site: Site, table: Table): Promise<void> {
  let count = 0;
  for (const { title, table: altered } of alterations(table)) {
    replaceTable(site.pod.netns, altered);
    const error = expectFailure(await site.run(check), { code: 113 });
    assert.ok(error.msg.includes("altered"), title);
    if (count++ % 10 > 0) continue;
    replaceTable(site.pod.netns, table);
    expectOutcome(await site.run(check), "success");
  }
  const rules = table.chains.reduce((sum, { rules: list }) => sum + list.length, 0);
  assert.ok(count >= 2 * rules, `${count} alterations of ${rules} rules`);
  replaceTable(site.pod.netns, table);
}

/** As an administrator would do it, with nft. */
async function deletedByHand(site: Site): Promise<void> {
  await added(site);
  await site.pod.exec("nft", "flush", "chain", "inet", "trireme", "in");
  expectFailure(await site.run(check), { code: 113 });
  await site.pod.exec("nft", "delete", "table", "inet", "trireme");
  expectFailure(await site.run(check), { code: 113, says: ["missing"] });
}

/** What is left would pass for the rules of a kernel without the egress hook. */
async function egressDeletedByHand(site: Site): Promise<void> {
  await added(site);
  await site.pod.exec("nft", "delete", "table", "netdev", "trireme");
  expectFailure(await site.run(check), { code: 113 });
  const [inet] = readTables(site.pod.netns);
  assert.ok(inet);
  replaceTable(site.pod.netns, withoutSeal(inet));
  expectFailure(await site.run(check), { code: 113, says: ["egress rules are missing"] });
}

async function changesNothing(site: Site): Promise<void> {
  await added(site);
  await site.pod.exec("nft", "flush", "chain", "inet", "trireme", "in");
  const before = [readTables(site.pod.netns), site.enforcer.requests.length];
  expectFailure(await site.run(check), { code: 113 });
  assert.deepEqual(readTables(site.pod.netns), before[0], "no repair");
  assert.deepEqual(
    site.enforcer.requests.map(({ op }) => op),
    ["add", "enforce", "check"],
    "one question, no log",
  );
}

async function laterChanges(site: Site): Promise<void> {
  await added(site);
  await command("ip", "-n", site.pod.name, "link", "set", "eth0", "address", "2e:00:00:00:00:77");
  await command("ip", "-n", site.pod.name, "route", "add", "198.51.100.0/24", "dev", "eth0");
  await command("ip", "-n", site.pod.name, "address", "add", "10.99.0.200/24", "dev", "eth0");
  expectOutcome(await site.run(check), "success");
}

async function converging(site: Site): Promise<void> {
  await added(site);
  let asked = 0;
  site.enforcer.reply = ({ op }) =>
    op === "check" && asked++ < 3
      ? encodeError({ code: 11, message: "a policy is being applied" })
      : undefined;
  expectOutcome(await site.run(check), "success");
  assert.equal(asked, 4);
}

export const checkCases: readonly Case[] = [
  ...eachRun(
    146,
    "cniVersion %s",
    "pod",
    {
      "0.3.0": { verb: "CHECK", stdin: { cniVersion: "0.3.0" } },
      "0.3.1": { verb: "CHECK", stdin: { cniVersion: "0.3.1" } },
    },
    { code: 1, says: ["config version does not allow CHECK"] },
  ),
  ...eachRun(
    147,
    "%s",
    "pod",
    {
      "no prevResult": { verb: "CHECK", stdin: { prevResult: undefined } },
      "prevResult null": { verb: "CHECK", stdin: { prevResult: null } },
    },
    { code: 7, says: ["prevResult"] },
  ),
  steps(148, "right after ADD, 100 times, five at once", "pod", inOneGo),
  steps(149, "every single rule deleted or altered", "pod", everyAlteration),
  steps(149, "rules and table deleted by nft", "pod", deletedByHand),
  steps(149, "the egress rules deleted by nft", "pod", egressDeletedByHand),
  steps(150, "the interface is gone", "pod", async (site) => {
    await added(site);
    await command("ip", "-n", site.pod.name, "link", "set", "eth0", "name", "eth7");
    expectFailure(await site.run(check), { code: 110, says: ["eth0"] });
  }),
  steps(150, "an address is gone", "pod", async (site) => {
    await added(site);
    await command("ip", "-n", site.pod.name, "address", "del", "10.99.0.2/24", "dev", "eth0");
    expectFailure(await site.run(check), { code: 110, says: ["10.99.0.2"] });
  }),
  steps(151, "routes, MAC and more addresses may change", "pod", laterChanges),
  steps(152, "the enforcer is down", "pod", async (site) => {
    await added(site);
    await site.enforcer.close();
    expectFailure(await site.run(check), { code: 11 });
  }),
  steps(153, "after DEL, and for an unknown container", "pod", async (site) => {
    expectFailure(await site.run(check), { code: 102 });
    await added(site);
    expectOutcome(await site.run({ verb: "DEL" }), "success");
    expectFailure(await site.run(check), { code: 102 });
  }),
  steps(154, "CHECK repairs nothing and logs nothing", "pod", changesNothing),
  steps(155, "an enforcer that converges gets a moment", "pod", converging),
];
