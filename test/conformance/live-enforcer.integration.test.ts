/** The requirements that need a real enforcer, and the plugin's verbs against one: both built binaries, real namespaces. */
import { chmodSync, readdirSync, readFileSync, truncateSync } from "node:fs";
import { createConnection } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { expectFailure, expectOutcome } from "../../conformance/case.ts";
import type { Config, Verb } from "../../conformance/case.ts";
import { puIdOf } from "../../conformance/fake-enforcer.ts";
import { isEnforced } from "../../conformance/rules.ts";
import { Site } from "../../conformance/site.ts";
import type { Run } from "../../conformance/site.ts";
import type { Pod } from "../../conformance/pod.ts";
import { encodeRequest } from "../../enforcer/control/messages.ts";
import { closeFd, netnsCookie, openNetns } from "../../netlink/netns.ts";
import { pluginBinary } from "../harness/binaries.ts";
import { createCluster } from "../harness/cluster.ts";
import { run } from "../harness/command.ts";
import { Enforcer, newPsk } from "../harness/enforcer.ts";
import { Lab } from "../harness/lab.ts";

let lab: Lab;
let enforcer: Enforcer;
let site: Site;

beforeAll(async () => {
  lab = new Lab();
  const node = await (await createCluster(lab)).addNode("node-a");
  enforcer = new Enforcer(node);
  enforcer.writePsk(newPsk());
  enforcer.writePolicy("version: 1\npolicies: []\n");
  await enforcer.start();
  site = await Site.open(pluginBinary(), "nothing");
}, 60_000);

afterAll(async () => {
  await site.close();
  await lab.close();
});

/** Whatever a test left. */
afterEach(async () => {
  if (enforcer.pid === undefined) await enforcer.start();
  await succeed("GC", undefined, { "cni.dev/valid-attachments": [] });
}, 30_000);

/** One run for a pod, whose name is its container id. */
function act(verb: Verb, pod?: Pod, members: Config = {}): Promise<Run> {
  const env = pod === undefined ? {} : { CNI_CONTAINERID: pod.name };
  return site.run({ verb, env, stdin: { socket: enforcer.socket, ...members } }, {}, pod);
}

async function succeed(verb: Verb, pod?: Pod, members?: Config): Promise<void> {
  expectOutcome(await act(verb, pod, members), "success");
}

interface Status {
  readonly pus: readonly { readonly id: string; readonly containerId: string; readonly attributes: object }[];
}

async function enforced(): Promise<readonly string[]> {
  const status = (await enforcer.json(["status"])) as unknown as Status;
  return status.pus.map(({ containerId }) => containerId).toSorted();
}

function stateFiles(): string[] {
  return readdirSync(enforcer.stateFolder).filter((name) => name.endsWith(".json"));
}

async function restart(): Promise<void> {
  await enforcer.kill();
  await enforcer.start();
}

describe("every verb", () => {
  it("works from ADD to double DEL", async () => {
    const pod = await site.addPod();
    await succeed("STATUS");
    await succeed("ADD", pod, { attributes: { app: "web" } });
    expect(await enforced()).toEqual([pod.name]);
    await succeed("ADD", pod, { attributes: { app: "web" } });
    await succeed("CHECK", pod);
    await succeed("GC", undefined, {
      "cni.dev/valid-attachments": [{ containerID: pod.name, ifname: "eth0" }],
    });
    expect(await enforced()).toEqual([pod.name]);
    await succeed("DEL", pod);
    await succeed("DEL", pod);
    expect(await enforced()).toEqual([]);
    expect(isEnforced(pod.netns)).toBe(false);
    expectFailure(await act("CHECK", pod), { code: 102 });
  });

  it("GC lets go of what isn't listed", async () => {
    const [kept, stale] = [await site.addPod(), await site.addPod()];
    for (const pod of [kept, stale]) await succeed("ADD", pod);
    await succeed("GC", undefined, {
      "cni.dev/valid-attachments": [{ containerID: kept.name, ifname: "eth0" }],
    });
    expect(await enforced()).toEqual([kept.name]);
    await succeed("GC", undefined, { "cni.dev/valid-attachments": [] });
    expect(await enforced()).toEqual([]);
  });

  it("20 ADDs at once, then 20 DELs", async () => {
    const pods = await Promise.all(Array.from({ length: 20 }, () => site.addPod()));
    for (const outcome of await Promise.all(pods.map((pod) => act("ADD", pod))))
      expectOutcome(outcome, "success");
    expect(await enforced()).toEqual(pods.map(({ name }) => name).toSorted());
    for (const outcome of await Promise.all(pods.map((pod) => act("DEL", pod))))
      expectOutcome(outcome, "success");
    expect(await enforced()).toEqual([]);
    expect(stateFiles()).toEqual([]);
  }, 120_000);
});

describe("the enforcer away", () => {
  it("fails ADD with 11 and STATUS with 51 while pods are enforced, and lets DEL succeed", async () => {
    const [old, fresh] = [await site.addPod(), await site.addPod()];
    await succeed("ADD", old);
    await enforcer.kill();
    expectFailure(await act("STATUS"), { code: 51 });
    expectFailure(await act("ADD", fresh), { code: 11 });
    expectFailure(await act("CHECK", old), { code: 11 });
    await succeed("DEL", fresh);
    expect(isEnforced(old.netns)).toBe(true);
    await enforcer.start();
    await succeed("CHECK", old);
    await succeed("DEL", old);
  }, 60_000);
});

describe("143: a registry file and its copy cut short", () => {
  it("fails neither the start of the enforcer nor the DEL", async () => {
    const [cut, whole] = [await site.addPod(), await site.addPod()];
    for (const pod of [cut, whole]) await succeed("ADD", pod);
    const id = puIdOf({ network: "pods", containerId: cut.name, ifname: "eth0" });
    for (const file of ["json", "copy"]) truncateSync(join(enforcer.stateFolder, `${id}.${file}`), 0);
    await restart();
    expect(await enforced()).toEqual([whole.name]);
    for (const pod of [cut, whole]) await succeed("DEL", pod);
    expect(await enforced()).toEqual([]);
  }, 60_000);
});

describe("190: killed at any instant", () => {
  it("leaves whole registry files, and nothing after the DEL", async () => {
    const pod = await site.addPod();
    for (let round = 0; round < 8; round++) {
      const adding = act("ADD", pod);
      await sleep(40 + round * 15);
      await enforcer.kill();
      await adding;
      for (const name of stateFiles()) {
        expect(
          () => JSON.parse(readFileSync(join(enforcer.stateFolder, name), "utf8")) as unknown,
        ).not.toThrow();
      }
      await enforcer.start();
      await succeed("DEL", pod);
      expect(await enforced()).toEqual([]);
      expect(isEnforced(pod.netns)).toBe(false);
    }
  }, 120_000);
});

describe("194: who may ask", () => {
  it("refuses everybody but root, even where the socket's mode lets them in", async () => {
    const folder = dirname(enforcer.socket);
    const folders = [folder, dirname(folder), dirname(dirname(folder))].filter((path) =>
      path.startsWith(lab.folder),
    );
    for (const path of folders) chmodSync(path, 0o755);
    chmodSync(enforcer.socket, 0o666);
    try {
      const script = [
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1])",
        'try: s.sendall(b\'{"version":1,"op":"status"}\\n\'); print(s.recv(4096).decode())',
        "except OSError as e: print(e)",
      ].join("\n");
      const asNobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "python3",
        "-c",
        script,
      ];
      const { stdout } = await run([...asNobody, enforcer.socket]);
      expect(stdout).not.toContain('"ok":true');
      expect((await run(["python3", "-c", script, enforcer.socket])).stdout).toContain('"ok":true');
    } finally {
      chmodSync(enforcer.socket, 0o600);
      for (const path of folders) chmodSync(path, 0o700);
    }
  });
});

/** One line asked, one line answered, past the plugin. */
function ask(line: string): Promise<{ error?: { code: number } }> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ path: enforcer.socket });
    socket.once("error", reject);
    socket.once("data", (data: Buffer) => {
      socket.destroy();
      resolve(JSON.parse(data.toString()) as { error?: { code: number } });
    });
    socket.write(line);
  });
}

describe("195: what an ADD claims", () => {
  it("is held against the namespace", async () => {
    const pod = await site.addPod();
    const fd = openNetns(pod.netns);
    const cookie = netnsCookie(fd);
    closeFd(fd);
    const claim = {
      op: "add",
      network: "pods",
      containerId: pod.name,
      ifname: "eth0",
      netnsPath: pod.netns,
      netnsCookie: String(cookie),
      addresses: [{ address: "10.99.0.2", prefixLength: 24 }],
      attributes: {},
      pluginVersion: "0",
    } as const;
    const lies = [
      { ...claim, addresses: [{ address: "10.99.0.3", prefixLength: 24 }] },
      { ...claim, netnsCookie: String(cookie + 1n) },
      { ...claim, ifname: "eth9" },
      { ...claim, netnsPath: "/run/netns/none" },
    ];
    for (const lie of lies) expect((await ask(encodeRequest(lie))).error?.code).toBe(104);
    expect((await ask(encodeRequest(claim))).error).toBe(undefined);
    expect(await enforced()).toEqual([]);
  });
});
