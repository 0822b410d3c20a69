/** Group C: CNI_ARGS and args. */
import assert from "node:assert/strict";
import { eachRun, expectOutcome, oneRun, steps } from "../case.ts";
import type { Case, RunData } from "../case.ts";
import type { Site } from "../site.ts";
import { isEnforced } from "../rules.ts";

const pod = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_INFRA_CONTAINER_ID=$ID;K8S_POD_UID=0f1d";
const named = { namespace: "shop", name: "web-1", uid: "0f1d" };

const add = (args: string, stdin: RunData["stdin"] = {}): RunData => ({
  verb: "ADD",
  env: { CNI_ARGS: args },
  stdin,
});

/** What the enforcer was told of the last ADD. */
async function told(site: Site, data: RunData): Promise<NonNullable<Site["enforcer"]["adds"][number]>> {
  expectOutcome(await site.run(data), "success");
  const request = site.enforcer.adds.at(-1);
  assert.ok(request);
  return request;
}

const malformed = ["A", "A=b;", ";A=b", "A=b=c", "A=b;;C=d", "=b", ";"];

function malformedArgs(verb: "ADD" | "DEL"): Record<string, RunData> {
  return Object.fromEntries(malformed.map((args) => [args, { verb, env: { CNI_ARGS: args } }]));
}

async function longNames(site: Site): Promise<void> {
  const name = `${"a.".repeat(126)}a`;
  const request = await told(site, add(`K8S_POD_NAMESPACE=${"n".repeat(63)};K8S_POD_NAME=${name}`));
  assert.deepEqual(request.pod, { namespace: "n".repeat(63), name });
  const shell = "../../etc/$(reboot)`x`";
  assert.equal((await told(site, add(`K8S_POD_NAMESPACE=x;K8S_POD_NAME=${shell}`))).pod?.name, shell);
}

async function anyOrder(site: Site): Promise<void> {
  const pairs = `IgnoreUnknown=1;${pod}`.split(";");
  for (const order of [pairs, pairs.toReversed(), [...pairs.slice(2), ...pairs.slice(0, 2)]]) {
    assert.deepEqual((await told(site, add(order.join(";")))).pod, named);
  }
}

async function duplicateKeys(site: Site): Promise<void> {
  const args = "K8S_POD_NAME=first;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=last";
  assert.equal((await told(site, add(args))).pod?.name, "last");
  expectOutcome(await site.run({ verb: "DEL", env: { CNI_ARGS: args } }), "success");
  assert.equal(site.enforcer.attachments.size, 0);
}

/** Each source alone, then all at once: the stronger one wins, key by key. */
async function precedence(site: Site): Promise<void> {
  const sources = {
    attributes: { a: "config" },
    args: {
      cni: {
        labels: [
          { key: "a", value: "args" },
          { key: "b", value: "args" },
        ],
      },
      other: { x: 1 },
    },
    runtimeConfig: {
      "io.kubernetes.cri.pod-annotations": {
        "trireme-cni/labels": '{"a":"annotation","b":"annotation","c":"annotation","d":"annotation"}',
      },
    },
  };
  const request = await told(site, add("TRIREME_LABELS=a:cni_args,b:cni_args,c:cni_args", sources));
  assert.deepEqual({ ...request.attributes }, { a: "config", b: "args", c: "cni_args", d: "annotation" });
}

const foreign = { args: { cni: { ips: ["10.0.0.1"], unknown: { deep: [1] } }, "other.example": [null, 3] } };

export const argsCases: readonly Case[] = [
  steps(54, "the pod's names come from CNI_ARGS", "pod", async (site) => {
    assert.deepEqual((await told(site, add(`IgnoreUnknown=1;${pod}`))).pod, named);
  }),
  steps(55, "the order of keys is irrelevant", "pod", anyOrder),
  steps(56, "IgnoreUnknown takes every spelling of true and false", "pod", async (site) => {
    for (const value of ["1", "true", "True", "TRUE", "0", "false"])
      await told(site, add(`IgnoreUnknown=${value};${pod}`));
  }),
  ...eachRun(
    56,
    "IgnoreUnknown=%s",
    "pod",
    { yes: add("IgnoreUnknown=yes"), empty: add("IgnoreUnknown=") },
    { code: 4, says: ["IgnoreUnknown"] },
  ),
  oneRun(
    57,
    "unknown keys are ignored with and without IgnoreUnknown",
    "pod",
    add("FOO=bar;BAZ=x"),
    "success",
  ),
  ...eachRun(58, "ADD with CNI_ARGS '%s'", "pod", malformedArgs("ADD"), { code: 4, says: ["CNI_ARGS"] }),
  ...eachRun(58, "DEL with CNI_ARGS '%s'", "enforcer", malformedArgs("DEL"), "success"),
  steps(59, "without CNI_ARGS it is no Kubernetes pod, and enforced all the same", "pod", async (site) => {
    for (const args of ["", undefined]) {
      expectOutcome(await site.run({ verb: "ADD", env: { CNI_ARGS: args } }), "success");
      assert.equal(site.enforcer.adds.at(-1)?.pod, undefined);
      assert.equal(isEnforced(site.pod.netns), true);
    }
  }),
  steps(60, "of duplicate keys the last one counts, for ADD and DEL", "pod", duplicateKeys),
  steps(61, "long and odd names are names", "pod", longNames),
  steps(62, "without K8S_POD_UID", "pod", async (site) => {
    const request = await told(site, add("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1"));
    assert.deepEqual(request.pod, { namespace: "shop", name: "web-1" });
  }),
  oneRun(63, "others' data under args is ignored", "pod", { verb: "ADD", stdin: foreign }, "success"),
  steps(64, "precedence: plugin, args.cni, CNI_ARGS, annotation", "pod", precedence),
  steps(65, "DEL without the CNI_ARGS that ADD had", "pod", async (site) => {
    expectOutcome(await site.run(add(pod)), "success");
    expectOutcome(await site.run({ verb: "DEL" }), "success");
    assert.equal(site.enforcer.attachments.size, 0);
  }),
];
