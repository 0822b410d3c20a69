/** Group D: configuration on standard input. */
import assert from "node:assert/strict";
import { eachRun, expectOutcome, oneRun, steps } from "../case.ts";
import type { Case, Config, Json, RunData, Verb } from "../case.ts";
import type { Site } from "../site.ts";

const add = (stdin: Config | string): RunData => ({ verb: "ADD", stdin });

function inputs(verb: Verb, texts: readonly string[]): Record<string, RunData> {
  return Object.fromEntries(texts.map((stdin) => [stdin, { verb, stdin }]));
}

function members(verb: Verb, name: string, list: readonly Json[]): Record<string, RunData> {
  return Object.fromEntries(list.map((value) => [JSON.stringify(value), { verb, stdin: { [name]: value } }]));
}

const malformed = ["{", "nonsense", '{"a":}', "{} {}", '{"name":"pods",}', "\ufeff{}", "{'a':1}"];
const badNames = ["te%%st", "a/b", ".a", "-a", "_a", "ä", " "];

const annotations = (value: Json): Config => ({
  capabilities: { "io.kubernetes.cri.pod-annotations": true },
  runtimeConfig: { "io.kubernetes.cri.pod-annotations": value },
});

async function annotated(site: Site): Promise<void> {
  const labels = { "trireme-cni/labels": '{"app":"web","__proto__":"x"}', "other/annotation": "{" };
  expectOutcome(await site.run(add(annotations(labels))), "success");
  const attributes = site.enforcer.adds[0]?.attributes ?? {};
  assert.deepEqual(Object.entries(attributes), [
    ["app", "web"],
    ["__proto__", "x"],
  ]);
}

async function changedConfig(site: Site): Promise<void> {
  expectOutcome(await site.run(add({ attributes: { app: "web" }, timeoutMs: 9000 })), "success");
  expectOutcome(
    await site.run({ verb: "DEL", stdin: { extra: true, attributes: "gone", timeoutMs: -1 } }),
    "success",
  );
  assert.equal(site.enforcer.attachments.size, 0);
}

const badOptions: Readonly<Record<string, readonly Json[]>> = {
  socket: [1, null, "", "relative.sock", `/${"x".repeat(107)}`, "/nul\u0000l"],
  timeoutMs: ["1000", 0, -1, 10.5, 10_001, null],
  attributes: [[], "app=web", 1],
};

const reservedLabels: Readonly<Record<string, RunData>> = {
  attributes: add({ attributes: { "@ns": "kube-system" } }),
  "args.cni.labels": add({ args: { cni: { labels: [{ key: "@sa", value: "x" }] } } }),
  TRIREME_LABELS: { verb: "ADD", env: { CNI_ARGS: "TRIREME_LABELS=@node:x" } },
  "the annotation": add(annotations({ "trireme-cni/labels": '{"@ns":"x"}' })),
};

const badLabels: Readonly<Record<string, RunData>> = {
  "a number as value": add({ attributes: { app: 1 } }),
  "an empty key": add({ attributes: { "": "x" } }),
  "a long value": add({ attributes: { app: "x".repeat(300) } }),
  "a long key": add({ attributes: { ["k".repeat(400)]: "x" } }),
  "65 labels": add({
    attributes: Object.fromEntries(Array.from({ length: 65 }, (_, place) => [`k${place}`, "v"])),
  }),
  "labels that are no array": add({ args: { cni: { labels: { key: "a", value: "b" } } } }),
  "a label without key": add({ args: { cni: { labels: [{ value: "b" }] } } }),
  "a pair without colon": { verb: "ADD", env: { CNI_ARGS: "TRIREME_LABELS=app" } },
  "an annotation that is no JSON": add(annotations({ "trireme-cni/labels": "{app:web}" })),
  "an annotation that is no object": add(annotations({ "trireme-cni/labels": "[1]" })),
};

export const configCases: readonly Case[] = [
  ...eachRun(66, "malformed JSON: %s", "nothing", inputs("ADD", malformed), { code: 6 }),
  oneRun(
    66,
    "invalid UTF-8",
    "nothing",
    { verb: "ADD", stdin: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]) },
    { code: 6 },
  ),
  ...eachRun(67, "no object: %s", "nothing", inputs("ADD", ["[]", '"x"', "1", "null", "true"]), {
    code: [6, 7],
  }),
  oneRun(68, "missing name", "nothing", add({ name: undefined }), { code: 7, says: ["name"] }),
  ...eachRun(69, "network name %s", "nothing", members("ADD", "name", badNames), { code: 7, says: ["name"] }),
  oneRun(70, "missing cniVersion", "pod", add({ cniVersion: undefined }), { code: 1 }),
  ...eachRun(
    71,
    "cniVersion 9.9.9 on %s",
    "nothing",
    {
      ADD: add({ cniVersion: "9.9.9" }),
      DEL: { verb: "DEL", stdin: { cniVersion: "9.9.9" } },
      CHECK: { verb: "CHECK", stdin: { cniVersion: "9.9.9" } },
    },
    { code: 1, says: ['config is "9.9.9", plugin supports ["0.3.0" '] },
  ),
  ...eachRun(
    72,
    "cniVersion %s",
    "nothing",
    members("ADD", "cniVersion", ["1.0", "1.1", "v1.0.0", "1.0.0 ", "01.0.0"]),
    { code: 1 },
  ),
  ...eachRun(
    73,
    "cniVersion abc on %s",
    "nothing",
    {
      ADD: add({ cniVersion: "abc" }),
      DEL: { verb: "DEL", stdin: { cniVersion: "abc" } },
    },
    { code: 1 },
  ),
  ...eachRun(
    73,
    "cniVersion abc on %s",
    "nothing",
    {
      CHECK: { verb: "CHECK", stdin: { cniVersion: "abc" } },
      GC: { verb: "GC", stdin: { cniVersion: "abc" } },
      STATUS: { verb: "STATUS", stdin: { cniVersion: "abc" } },
    },
    { code: 6 },
  ),
  ...eachRun(74, "cniVersion %s", "nothing", members("ADD", "cniVersion", [1, null, ["1.0.0"], {}]), {
    code: 6,
  }),
  oneRun(
    75,
    "unknown members are ignored",
    "pod",
    add({ unknown: 1, failOpen: { deep: [null] }, "x.example/y": "z" }),
    "success",
  ),
  oneRun(76, "capabilities are tolerated", "pod", add({ capabilities: { portMappings: true } }), "success"),
  ...eachRun(
    77,
    "foreign runtimeConfig: %s",
    "pod",
    members("ADD", "runtimeConfig", [{ portMappings: 3, mac: null }, [], "x", null]),
    "success",
  ),
  steps(78, "labels from the pod's annotations", "pod", annotated),
  ...eachRun(
    78,
    "annotations that are %s",
    "pod",
    {
      null: add(annotations(null)),
      "an array": add(annotations([1])),
      "without ours": add(annotations({ a: "b" })),
    },
    "success",
  ),
  oneRun(
    79,
    "other keys that begin with cni.dev/ are ignored",
    "pod",
    add({ "cni.dev/future": { a: 1 } }),
    "success",
  ),
  oneRun(
    80,
    "ipam, dns and ipMasq are tolerated",
    "pod",
    add({ ipam: { type: "x" }, dns: { nameservers: [1] }, ipMasq: true }),
    "success",
  ),
  ...Object.entries(badOptions).flatMap(([option, list]) =>
    eachRun(81, `option ${option}: %s`, "pod", members("ADD", option, list), { code: 7, says: [option] }),
  ),
  ...Object.entries(badOptions).flatMap(([option, list]) =>
    eachRun(81, `DEL goes on with option ${option}: %s`, "nothing", members("DEL", option, list), "success"),
  ),
  ...eachRun(81, "a reserved label in %s", "pod", reservedLabels, { code: 7, says: ["@"] }),
  ...eachRun(81, "%s", "pod", badLabels, { code: 7 }),
  steps(82, "a configuration changed between ADD and DEL", "pod", changedConfig),
];
