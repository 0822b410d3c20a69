/** Requirements 201 and 203: our plugin behind ptp, run by cnitool 1.3.1 (libcni) from a conflist and from a drop-in folder. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { cniPluginFolder, pluginBinary } from "../harness/binaries.ts";
import type { JsonObject, NetworkList } from "../harness/cni-chain.ts";
import { execOk, exec, Lab, namespacePath } from "../harness/lab.ts";
import { waitFor, type CommandResult } from "../harness/command.ts";
import { goToolFolder, hasGoTools } from "../harness/go-tools.ts";
import { connect, startEchoServer } from "../harness/traffic.ts";
import { keepSharedFolders } from "./shared-folders.ts";
import { createStage, hasOurRules, shownPods, type Stage } from "./stage.ts";

const current = goToolFolder("cni-plugins");
const versions = [
  { cniVersion: "0.3.1", plugins: cniPluginFolder },
  { cniVersion: "0.4.0", plugins: cniPluginFolder },
  { cniVersion: "1.0.0", plugins: cniPluginFolder },
  { cniVersion: "1.1.0", plugins: current },
];

describe.skipIf(!hasGoTools())("cnitool 1.3.1", () => {
  const lab = new Lab();
  const network = lab.id;
  let stage: Stage;
  let confDir: string;
  let plugins: string;
  let pods: string[];
  let serial = 0;

  beforeAll(async () => {
    keepSharedFolders(lab);
    stage = await createStage(lab, "node");
  });
  afterAll(() => lab.close());
  afterEach(async () => {
    for (const pod of pods) {
      await cnitool("del", pod);
      await lab.removeNamespace(pod);
    }
    expect(await shownPods(stage.enforcer)).toEqual([]);
  });

  /** Writes `text` where cnitool will look, in a fresh configuration folder with these plugins. */
  function configure(pluginFolder: string, files: Readonly<Record<string, object>>): void {
    pods = [];
    plugins = pluginFolder;
    confDir = join(lab.folder, `net.d-${serial++}`);
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(confDir, name)), { recursive: true });
      writeFileSync(join(confDir, name), JSON.stringify(content));
    }
  }

  function cnitool(verb: string, pod: string, labels = "app:web"): Promise<CommandResult> {
    const program = join(goToolFolder("cnitool"), "cnitool");
    return exec(stage.node.namespace, [program, verb, network, namespacePath(pod)], {
      env: {
        PATH: process.env["PATH"],
        NETCONFPATH: confDir,
        CNI_PATH: [dirname(pluginBinary()), plugins].join(":"),
        CNI_ARGS: `IgnoreUnknown=1;TRIREME_LABELS=${labels}`,
      },
    });
  }

  async function addPod(labels: string): Promise<{ namespace: string; address: string; result: JsonObject }> {
    const namespace = await lab.addNamespace(`pod${serial++}`);
    pods.push(namespace);
    const added = await cnitool("add", namespace, labels);
    expect(added).toMatchObject({ status: 0 });
    const result = JSON.parse(added.stdout) as JsonObject;
    const [first] = result["ips"] as { address: string }[];
    return { namespace, result, address: first?.address.replace(/\/.*/, "") ?? "" };
  }

  function list(cniVersion: string): NetworkList {
    return stage.node.networkList({ cniVersion, name: network, families: [4] });
  }

  test.each(versions)("[201] add, check and double del at $cniVersion", async ({ cniVersion, plugins }) => {
    configure(plugins, { "10-pods.conflist": list(cniVersion) });
    const web = await addPod("app:web,tier:front");
    expect(web.result["cniVersion"]).toBe(cniVersion);
    expect(await shownPods(stage.enforcer)).toMatchObject([
      {
        network,
        ifname: "eth0",
        netns: namespacePath(web.namespace),
        attributes: { app: "web", tier: "front" },
      },
    ]);
    expect(await hasOurRules(web.namespace)).toBe(true);

    const check = await cnitool("check", web.namespace);
    if (cniVersion === "0.3.1") expect(check.status).not.toBe(0);
    else expect(check).toMatchObject({ status: 0 });

    expect(await cnitool("del", web.namespace)).toMatchObject({ status: 0 });
    expect(await shownPods(stage.enforcer)).toEqual([]);
    expect(await cnitool("del", web.namespace)).toMatchObject({ status: 0 });
  });

  test.each(versions)(
    "[201] pods are connected or refused by policy at $cniVersion",
    async ({ cniVersion, plugins }) => {
      configure(plugins, { "10-pods.conflist": list(cniVersion) });
      const web = await addPod("app:web");
      const guest = await addPod("app:guest");
      const db = await addPod("app:db");
      await startEchoServer(lab, db.namespace, 5432);
      expect(await connect(web.namespace, db.address, 5432)).toMatchObject({
        outcome: "connected",
        echoed: 1,
      });
      expect(await connect(guest.namespace, db.address, 5432)).not.toHaveProperty("connectUs");
    },
  );

  test("[201] a table that is deleted is put back by the enforcer, and check passes", async () => {
    configure(cniPluginFolder, { "10-pods.conflist": list("1.0.0") });
    const { namespace } = await addPod("app:web");
    await execOk(namespace, ["nft", "delete", "table", "inet", "trireme"]);
    await waitFor("our table", () => hasOurRules(namespace));
    expect(await cnitool("check", namespace)).toMatchObject({ status: 0 });
  });

  test("[201] status at 1.1.0 says whether the enforcer is there", async () => {
    configure(current, { "10-pods.conflist": list("1.1.0") });
    expect(await cnitool("status", "")).toMatchObject({ status: 0 });
    await stage.enforcer.stop();
    try {
      expect((await cnitool("status", "")).status).not.toBe(0);
    } finally {
      await stage.enforcer.start();
    }
  });

  test("[201] gc at 1.1.0 lets go of what is no longer valid", async () => {
    configure(current, { "10-pods.conflist": list("1.1.0") });
    const { namespace } = await addPod("app:web");
    expect(await shownPods(stage.enforcer)).toHaveLength(1);
    expect(await cnitool("gc", namespace)).toMatchObject({ status: 0 });
    expect(await shownPods(stage.enforcer)).toEqual([]);
  });

  test("[203] a drop-in folder behaves as an inlined entry", async () => {
    const whole = list("1.1.0");
    const [ptp, ours = {}] = whole.plugins;
    configure(current, {
      "10-pods.conflist": { ...whole, plugins: [ptp] },
      [`${network}/50-trireme.conf`]: { ...ours, cniVersion: "1.1.0", name: network },
    });
    const { namespace } = await addPod("app:web");
    expect(await shownPods(stage.enforcer)).toMatchObject([{ network, attributes: { app: "web" } }]);
    expect(await hasOurRules(namespace)).toBe(true);
    expect(await cnitool("check", namespace)).toMatchObject({ status: 0 });
  });
});
