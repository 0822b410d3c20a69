/**
 * Requirements 201, 202, 203, 205, 206 under containerd: pods made through CRI by Debian's 1.6 and by 2.4, our plugin behind ptp in the chain,
 * from ADD to double DEL.
 */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { cniPluginFolder, pluginBinary } from "../harness/binaries.ts";
import type { PluginEntry } from "../harness/cni-chain.ts";
import { waitFor } from "../harness/command.ts";
import { goToolFolder, hasGoTools } from "../harness/go-tools.ts";
import { Lab } from "../harness/lab.ts";
import { connect, startEchoServer } from "../harness/traffic.ts";
import { Containerd, type Generation } from "./containerd.ts";
import { keepSharedFolders } from "./shared-folders.ts";
import { createStage, hasOurRules, shownPods, type ShownPod, type Stage } from "./stage.ts";

const generations: { generation: Generation; cniVersion: string; plugins: string }[] = [
  { generation: "1.6", cniVersion: "1.0.0", plugins: cniPluginFolder },
  { generation: "2.4", cniVersion: "1.1.0", plugins: goToolFolder("cni-plugins") },
];

/** Writes each call to a log beside itself, then passes ADD through, or fails it when a file `fail` is there. */
const recorder = `#!/bin/sh
here=\${0%/*}
input=$(cat)
netns=none; [ -n "$CNI_NETNS" ] && netns=given
previous=none; case $input in *prevResult*) previous=given;; esac
echo "$CNI_COMMAND netns=$netns prevResult=$previous" >> "$here/../recorder.log"
if [ "$CNI_COMMAND" = ADD ]; then
  if [ -e "$here/../fail" ]; then
    echo '{"cniVersion":"1.0.0","code":100,"msg":"told to fail"}'
    exit 1
  fi
  printf %s "$input" | /bin/busybox sed 's/.*"prevResult":\\({.*}\\)[^}]*}$/\\1/'
fi
`;

describe.skipIf(!hasGoTools()).each(generations)(
  "containerd $generation",
  ({ generation, cniVersion, plugins }) => {
    const lab = new Lab();
    let stage: Stage;
    let containerd: Containerd;
    let confDir: string;
    let log: string;
    const pods: string[] = [];

    beforeAll(async () => {
      keepSharedFolders(lab);
      stage = await createStage(lab, "node");
      const binDir = join(stage.node.folder, "bin");
      confDir = join(stage.node.folder, "net.d");
      log = join(stage.node.folder, "recorder.log");
      for (const folder of [binDir, confDir]) mkdirSync(folder);
      for (const name of readdirSync(plugins)) symlinkSync(join(plugins, name), join(binDir, name));
      copyFileSync(pluginBinary(), join(binDir, "trireme-cni"));
      writeFileSync(join(binDir, "recorder"), recorder);
      chmodSync(join(binDir, "recorder"), 0o755);
      writeList(stage.node.networkList(listOptions()));
      containerd = await Containerd.start(generation, stage.node, confDir, binDir);
    }, 120_000);
    afterAll(() => lab.close());
    afterEach(async () => {
      for (const id of pods.splice(0)) {
        await containerd.cri.stopPodSandbox(id);
        await containerd.cri.removePodSandbox(id);
      }
      expect(await shownPods(stage.enforcer)).toEqual([]);
    });

    function listOptions(): { cniVersion: string; name: string; after: PluginEntry[] } {
      return { cniVersion, name: lab.id, after: [{ type: "recorder" }] };
    }

    /** By rename within the folder: containerd watches nothing else. */
    function writeList(content: object): void {
      writeFileSync(join(confDir, ".new"), JSON.stringify(content));
      renameSync(join(confDir, ".new"), join(confDir, "10-pods.conflist"));
    }

    async function runPod(name: string, labels: Readonly<Record<string, string>>): Promise<ShownPod> {
      const id = await containerd.cri.runPodSandbox(containerd.config(name, labels));
      pods.push(id);
      const shown = (await shownPods(stage.enforcer)).find(({ containerId }) => containerId === id);
      if (shown === undefined) throw new Error(`status does not show pod ${id}`);
      return shown;
    }

    /** Calls of the plugin after us, since the last time. */
    function recorded(): string[] {
      if (!existsSync(log)) return [];
      const lines = readFileSync(log, "utf8").trim().split("\n");
      writeFileSync(log, "");
      return lines.filter((line) => line !== "" && !line.startsWith("VERSION") && !line.startsWith("STATUS"));
    }

    test("[201] a pod gets its rules and is shown, from ADD to double DEL", async () => {
      recorded();
      const web = await runPod("web", { app: "web", tier: "front" });
      expect(web).toMatchObject({
        network: lab.id,
        ifname: "eth0",
        attributes: { app: "web", tier: "front", "@ns": "default", "@node": "node" },
      });
      expect(await hasOurRules(web.netns)).toBe(true);
      await containerd.cri.stopPodSandbox(web.containerId);
      expect(await shownPods(stage.enforcer)).toEqual([]);
      await containerd.cri.removePodSandbox(web.containerId);
      pods.length = 0;
      expect(recorded()).toEqual([
        "ADD netns=given prevResult=given",
        "DEL netns=given prevResult=given",
        "DEL netns=none prevResult=none",
      ]);
    });

    test("[205] [206] the runtime takes its pod's addresses from our result", async () => {
      const web = await runPod("web", { app: "web" });
      const { status } = await containerd.cri.podSandboxStatus(web.containerId);
      const addresses = [status.network?.ip, ...(status.network?.additional_ips ?? []).map(({ ip }) => ip)];
      expect(status.state).toBe("SANDBOX_READY");
      expect(addresses).toEqual(web.addresses.map((address) => address.replace(/\/.*/, "")));
    });

    test.each(["IPv4", "IPv6"])(
      "[201] labelled pods are connected or refused by policy, %s",
      async (family) => {
        const [web, guest, db] = [
          await runPod("web", { app: "web" }),
          await runPod("guest", { app: "guest" }),
          await runPod("db", { app: "db" }),
        ];
        const addresses = db.addresses.map((address) => address.replace(/\/.*/, ""));
        const address = addresses.find((candidate) => candidate.includes(":") === (family === "IPv6")) ?? "";
        const server = await startEchoServer(lab, db.netns, 5432);
        expect(await connect(web.netns, address, 5432)).toMatchObject({ outcome: "connected", echoed: 1 });
        expect(await connect(guest.netns, address, 5432)).not.toHaveProperty("connectUs");
        await server.stop();
      },
    );

    test("[202] when a later plugin fails, the whole list is DELed and nothing stays", async () => {
      recorded();
      const flag = join(stage.node.folder, "fail");
      writeFileSync(flag, "");
      await expect(containerd.cri.runPodSandbox(containerd.config("doomed", { app: "web" }))).rejects.toThrow(
        /told to fail/,
      );
      renameSync(flag, `${flag}.not`);
      expect(recorded().slice(0, 2)).toEqual([
        "ADD netns=given prevResult=given",
        expect.stringMatching(/^DEL netns=given/),
      ]);
      expect(await shownPods(stage.enforcer)).toEqual([]);
      for (const id of await containerd.cri.listPodSandboxes()) await containerd.cri.removePodSandbox(id);
    });

    test("a pod is refused while the enforcer is away, and its end is not", async () => {
      const web = await runPod("web", { app: "web" });
      await stage.enforcer.stop();
      try {
        const refused = containerd.cri.runPodSandbox(containerd.config("late", { app: "web" }));
        await expect(refused).rejects.toThrow(/trireme/);
        await containerd.cri.stopPodSandbox(web.containerId);
        await containerd.cri.removePodSandbox(web.containerId);
        pods.length = 0;
      } finally {
        await stage.enforcer.start();
      }
      await waitFor("the enforcer to let go", async () => (await shownPods(stage.enforcer)).length === 0);
    });

    /** A list without us, and us in the drop-in folder of its name, while `work` runs. */
    async function droppedIn<T>(work: () => Promise<T>): Promise<T> {
      const inlined = stage.node.networkList(listOptions());
      const [ptp, ours] = inlined.plugins;
      mkdirSync(join(confDir, lab.id));
      writeFileSync(join(confDir, lab.id, "50-trireme.conf"), JSON.stringify(ours));
      writeList({ ...inlined, plugins: [ptp] });
      try {
        return await work();
      } finally {
        for (const id of await containerd.cri.listPodSandboxes()) {
          await containerd.cri.stopPodSandbox(id);
          await containerd.cri.removePodSandbox(id);
        }
        pods.length = 0;
        rmSync(join(confDir, lab.id), { recursive: true });
        writeList(inlined);
      }
    }

    // 1.6 knows neither STATUS nor drop-in folders.
    if (generation === "1.6") {
      test("a drop-in folder is ignored: its pods are not enforced", async () => {
        await droppedIn(() =>
          waitFor(
            "a pod of the reloaded list",
            async () => {
              const id = await containerd.cri.runPodSandbox(containerd.config("web", { app: "web" }));
              const isShown = (await shownPods(stage.enforcer)).some(({ containerId }) => containerId === id);
              await containerd.cri.stopPodSandbox(id);
              await containerd.cri.removePodSandbox(id);
              return !isShown;
            },
            60_000,
          ),
        );
      });
      return;
    }

    test("[203] STATUS makes the node NotReady while the enforcer is away", async () => {
      const network = async () =>
        (await containerd.cri.conditions()).find(({ type }) => type === "NetworkReady");
      expect(await network()).toMatchObject({ status: true });
      await stage.enforcer.stop();
      try {
        expect(await network()).toMatchObject({
          status: false,
          message: expect.stringMatching(/trireme/) as string,
        });
      } finally {
        await stage.enforcer.start();
      }
      expect(await network()).toMatchObject({ status: true });
    });

    test("[203] a drop-in folder behaves as an inlined entry", async () => {
      const web = await droppedIn(async () => {
        const pod = await waitFor("a pod of the reloaded list", () =>
          runPod("web", { app: "web" }).catch(() => undefined),
        );
        expect(await hasOurRules(pod.netns)).toBe(true);
        return pod;
      });
      expect(web).toMatchObject({ network: lab.id, attributes: { app: "web" } });
    });
  },
);
