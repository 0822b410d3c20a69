/** Group K: the error object. Codes 2 and 3 have no case in this plugin: it refuses no field, and never knows that no DEL is needed. */
import assert from "node:assert/strict";
import { expectFailure, readError, steps } from "../case.ts";
import type { Case, ErrorObject, RunData } from "../case.ts";
import { encodeError } from "../../enforcer/control/messages.ts";
import type { Site } from "../site.ts";

/** Failures of every kind that a caller can bring about, by the code they must have. */
const provoked: readonly (readonly [number, RunData])[] = [
  [1, { verb: "ADD", stdin: { cniVersion: "9.9.9" } }],
  [4, { verb: "ADD", env: { CNI_IFNAME: "" } }],
  [4, { verb: "ADD", env: { CNI_CONTAINERID: 'ü/\n"' } }],
  [6, { verb: "ADD", stdin: "{" }],
  [7, { verb: "ADD", stdin: { name: undefined } }],
  [7, { verb: "ADD", stdin: { attributes: { 'ü"\n': 1 } } }],
  [8, { verb: "ADD", env: { CNI_NETNS: "/run/netns/none" } }],
  [50, { verb: "STATUS" }],
  [11, { verb: "GC", stdin: { "cni.dev/valid-attachments": [] } }],
];

async function provokeAll(site: Site): Promise<readonly { error: ErrorObject; stdout: string }[]> {
  await site.enforcer.close();
  const errors = [];
  for (const [code, data] of provoked) {
    const run = await site.run(data);
    errors.push({ error: expectFailure(run, { code }), stdout: run.stdout });
  }
  return errors;
}

const secret = "s3cr3t-0f-the-conf1guration";

async function noSecrets(site: Site): Promise<void> {
  site.enforcer.reply = () => encodeError({ code: 105, message: "failed" });
  const env = { CNI_ARGS: "IgnoreUnknown=1", TOKEN: secret, KUBECONFIG: secret };
  const inputs: RunData[] = [
    { verb: "ADD", env, stdin: { password: secret } },
    { verb: "ADD", env, stdin: `{"password":"${secret}",` },
    { verb: "ADD", env, stdin: { password: secret, timeoutMs: "x" } },
    { verb: "ADD", env, stdin: { password: secret, prevResult: { ips: secret } } },
    { verb: "CHECK", env, stdin: { password: secret } },
  ];
  for (const data of inputs) {
    const run = await site.run(data);
    readError(run);
    assert.ok(!`${run.stdout}${run.stderr}`.includes(secret), run.stdout);
  }
  assert.ok(!JSON.stringify(site.enforcer.logs).includes(secret));
}

async function helpful(site: Site): Promise<void> {
  await site.enforcer.close();
  const env = { CNI_ARGS: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1" };
  const says = ["ADD", "shop/web-1", site.containerId, "eth0", "unreachable", site.socket, "trireme status"];
  expectFailure(await site.run({ verb: "ADD", env }), { code: 11, says });
}

const ownRange = (code: number): boolean => code >= 100 || [1, 4, 5, 6, 7, 8, 11, 50, 51].includes(code);

export const errorCases: readonly Case[] = [
  steps(178, "code, msg and cniVersion", "pod", async (site) => {
    for (const { error } of await provokeAll(site)) {
      assert.deepEqual(Object.keys(error), ["cniVersion", "code", "msg", "details"]);
      assert.equal(error.cniVersion, "1.1.0");
    }
  }),
  steps(179, "the code is a number, not 0", "pod", async (site) => {
    for (const { error } of await provokeAll(site)) assert.ok(Number.isInteger(error.code) && error.code > 0);
  }),
  steps(180, "the specification's codes, or own ones from 100", "pod", async (site) => {
    for (const { error } of await provokeAll(site)) assert.ok(ownRange(error.code), String(error.code));
  }),
  steps(181, "code 4 names the variables", "pod", async (site) => {
    const run = await site.run({ verb: "ADD", env: { CNI_IFNAME: "", CNI_NETNS: "" } });
    expectFailure(run, { code: 4, says: ["CNI_IFNAME", "CNI_NETNS"] });
  }),
  steps(182, "code 3, which says that no DEL is needed, is never used", "pod", async (site) => {
    for (const { error } of await provokeAll(site)) assert.notEqual(error.code, 3);
  }),
  steps(183, "code 11 is for what passes", "pod", async (site) => {
    await site.enforcer.close();
    expectFailure(await site.run({ verb: "ADD" }), { code: 11 });
    expectFailure(await site.run({ verb: "ADD", stdin: { timeoutMs: -1 } }), { code: 7 });
  }),
  steps(184, "no secret of input or environment is printed or logged", "pod", noSecrets),
  steps(185, "quotes, newlines and other scripts are escaped", "pod", async (site) => {
    for (const { stdout } of await provokeAll(site)) {
      assert.equal(stdout.indexOf("\n"), stdout.length - 1);
      assert.doesNotThrow(() => JSON.parse(stdout) as unknown);
    }
  }),
  steps(186, "an error names pod, container, verb, cause and remedy", "pod", helpful),
];
