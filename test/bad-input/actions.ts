/** What both the suite and its warm-up do to the enforcer, and how they know that it still serves. */
import { join } from "node:path";
import { expect } from "vitest";
import { LineClient } from "../control/line-client.ts";
import { nodeBinary } from "../harness/binaries.ts";
import type { JsonObject } from "../harness/cni-chain.ts";
import { waitFor } from "../harness/command.ts";
import { execOk } from "../harness/lab.ts";
import { connect } from "../harness/traffic.ts";
import type { Stage } from "./stage.ts";

/** Where the pod's server listens. */
export const PORT = 8080;
/** Everybody with a token may connect to everybody. */
export const policy = `version: 1
policies:
  - name: all
    subject: {}
    ingress: [{ name: in, action: allow, from: [{}] }]
    egress: [{ name: out, action: allow, to: [{}] }]
`;
/** The rule on line 5 names a port that there is none of. */
export const brokenPolicy = `version: 1
policies:
  - name: broken
    subject: {}
    ingress: [{ name: in, from: [{}], ports: [{ port: 70000 }] }]
`;

let mended = 0;

/** A connection that the enforcer authorises by token, and that echoes. */
export async function expectAuthorised(stage: Stage): Promise<void> {
  const attempt = await connect(stage.client.namespace, stage.server.address, PORT, { timeoutMs: 10_000 });
  expect(attempt).toMatchObject({ outcome: "connected", echoed: 1 });
  const [last] = (await stage.enforcer.flows()).slice(-1);
  expect(last).toMatchObject({ verdict: "allow", proof: "token", reporter: "destination" });
}

/** Datagrams that no rule allows, from many ports, as fast as one process can. */
export async function flood(stage: Stage, durationMs: number): Promise<void> {
  const argv = [nodeBinary, join(import.meta.dirname, "programs", "flood.ts"), stage.server.address];
  const printed = await execOk(stage.router, ["nice", "-n", "10", ...argv, String(durationMs)]);
  expect(Number(printed)).toBeGreaterThan(1_000);
}

/** A thousand connections to the control socket, and a status in spite of them. */
export async function crowd(stage: Stage): Promise<void> {
  const open: LineClient[] = [];
  for (let count = 0; count < 1_000; count += 1) open.push(await LineClient.open(stage.enforcer.socket));
  const { status } = await stage.enforcer.trireme(["status"]);
  expect(status).toBe(0);
  for (const client of open) client.close();
}

/** Writes a policy that is wrong, and waits until the enforcer says so. */
export async function refusePolicy(stage: Stage, text: string): Promise<void> {
  const before = stage.logged("policy refused").length;
  stage.enforcer.writePolicy(text);
  await waitFor("the refusal", () => stage.logged("policy refused").length > before);
}

/** Writes one that is right again. */
export async function mendPolicy(stage: Stage): Promise<void> {
  const before = stage.logged("policy loaded").length;
  mended += 1;
  stage.enforcer.writePolicy(`${policy}# mended ${mended}\n`);
  await waitFor("the policy", () => stage.logged("policy loaded").length > before);
}

/** A window of the log's own clock may begin in the middle of a second, so that two of them meet in it. */
export function expectFewASecond(lines: readonly JsonObject[]): void {
  const seconds = Map.groupBy(lines, ({ time }) => (time as string).slice(0, 19));
  for (const { length } of seconds.values()) expect(length).toBeLessThanOrEqual(2 * 20);
}
