/** `trireme release`, with the enforcer alive and dead, between two real pods that no policy joins. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StatusDocument } from "../../enforcer/control/operator-messages.ts";
import { waitFor } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";
import { connect, startEchoServer } from "../harness/traffic.ts";
import { createPair, type Pair } from "../integration/pair.ts";
import { validator } from "./schema.ts";

const denyAll = "version: 1\npolicies: []\n";
const lab = new Lab();
let pair: Pair;

beforeAll(async () => {
  pair = await createPair(lab, { mode: "psk", policy: denyAll });
  await startEchoServer(lab, pair.server.namespace, 8080);
}, 60_000);
afterAll(() => lab.close());

async function outcome(): Promise<string> {
  return (await connect(pair.client.namespace, pair.server.address, 8080, { timeoutMs: 1500 })).outcome;
}

test("asks, or is told; opens one PU by its enforcer, and the other by the registry of a dead one", async () => {
  const { clientEnforcer, serverEnforcer } = pair;
  expect(await outcome()).not.toBe("connected");

  const status = (await clientEnforcer.json(["status"])) as unknown as StatusDocument;
  const id = status.pus[0]?.id ?? "";
  expect((await clientEnforcer.trireme(["release", id])).status).toBe(2);
  expect((await clientEnforcer.trireme(["release", "--yes"])).status).toBe(2);
  expect((await clientEnforcer.trireme(["release", "--yes", "--all", id])).status).toBe(2);
  expect((await clientEnforcer.trireme(["release", "--yes", "0000000000000000"])).status).toBe(1);
  expect(((await clientEnforcer.json(["status"])) as unknown as StatusDocument).pus).toHaveLength(1);

  const released = await clientEnforcer.trireme(["release", id, "--yes"]);
  expect([released.status, released.stdout]).toEqual([0, `released ${id}\n`]);
  expect(released.stderr).toContain("WARNING");
  expect(clientEnforcer.log).toContain("PU released");
  expect(((await clientEnforcer.json(["status"])) as unknown as StatusDocument).pus).toEqual([]);
  expect(await outcome()).not.toBe("connected");

  await serverEnforcer.kill();
  const state = ["--state", serverEnforcer.stateFolder];
  const byRegistry = await serverEnforcer.trireme(["release", "--all", "--yes", "--json", ...state]);
  expect(byRegistry.status).toBe(0);
  const expectToFit = validator("release");
  const document = JSON.parse(byRegistry.stdout) as object;
  expectToFit(document);
  expect(document).toMatchObject({ released: [expect.any(String) as string], failures: [] });
  const broken = join(serverEnforcer.stateFolder, "0123456789abcdef.json");
  writeFileSync(broken, "cut sho", { mode: 0o600 });
  const failed = await serverEnforcer.trireme(["release", "--all", "--yes", "--json", ...state]);
  expect([failed.status, failed.stderr]).toEqual([1, expect.stringContaining("not JSON")]);
  expectToFit(JSON.parse(failed.stdout));
  expect(JSON.parse(failed.stdout)).toMatchObject({ released: [], failures: [{ puId: broken }] });
  rmSync(broken);
  expect(await outcome()).toBe("connected");
  expect((await serverEnforcer.trireme(["status"])).status).toBe(4);

  await serverEnforcer.start();
  await waitFor("the log line", () => serverEnforcer.log.includes("PU was released while no enforcer ran"));
  expect(((await serverEnforcer.json(["status"])) as unknown as StatusDocument).pus).toEqual([]);
  expect(await outcome()).toBe("connected");
}, 60_000);
