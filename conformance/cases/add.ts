/** Group F: ADD, chained. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import { eachRun, expectFailure, expectOutcome, omit, oneRun, steps } from "../case.ts";
import type { Case, Config, Json, RunData, Skip } from "../case.ts";
import { encodeError } from "../../enforcer/control/messages.ts";
import { command } from "../pod.ts";
import { isEnforced, readTables } from "../rules.ts";
import type { Run, Site } from "../site.ts";

type Result = Readonly<Record<string, Json>>;

const versions = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/** The result of the site's pod with other members. */
function withResult(site: Site, change: Result, cniVersion = "1.1.0"): RunData {
  return { verb: "ADD", stdin: { cniVersion, prevResult: { ...site.pod.result(cniVersion), ...change } } };
}

function ips(site: Site, extra: Result): Json[] {
  return site.pod.addresses.map((address) => ({ address, interface: 1, ...extra }));
}

/** Texts of prevResult that a reader of JSON would change; the output must hold each as it stands. */
const lossless = [
  '"big": 9007199254740993',
  '"bigger":123456789012345678901234567890',
  '"float":1.10e+00',
  '"zero":-0.0',
  '"escaped":"\\u00e9\\/\\ud834\\udd1e"',
  '"lone":"\\ud800"',
  '"twice":1, "twice":2',
  '"__proto__":{"a":1}',
  '"unknown":{"deep":[[[{"n":18446744073709551615}]]]}',
];

async function keepsText(site: Site): Promise<void> {
  const usual = JSON.stringify(site.config());
  const prevResult = JSON.stringify(site.pod.result()).slice(0, -1) + `, ${lossless.join(" ,\n ")}}`;
  const stdin = usual.replace(/"prevResult":.*\}$/s, `"prevResult": ${prevResult} }`);
  const run = await site.run({ verb: "ADD", stdin });
  assert.equal(run.exitCode, 0, run.stdout);
  assert.equal(run.stdout.trim(), prevResult.replaceAll("$NETNS", site.pod.netns));
}

/** Fields that 1.1.0 added, and others that are easily lost. */
const newFields: Result = {
  interfaces: [
    { name: "vethpeer", mac: "2e:00:00:00:00:01", mtu: 1500, socketPath: "/x", pciID: "0000:00:1f.6" },
    { name: "eth0", mac: "", mtu: 9000, sandbox: "$NETNS" },
  ],
  routes: [{ dst: "10.0.0.0/8", gw: "10.99.0.1", mtu: 1400, advmss: 1360, priority: 0, table: 0, scope: 0 }],
  dns: { nameservers: ["10.96.0.10"], domain: "a.b", search: ["b"], options: ["ndots:5"] },
};

async function addressesTold(site: Site, change: Result): Promise<readonly string[]> {
  expectOutcome(await site.run(withResult(site, change)), "success");
  return (site.enforcer.adds.at(-1)?.addresses ?? []).map(
    ({ address, prefixLength }) => `${address}/${prefixLength}`,
  );
}

/** cni0, the host's veth and the pod's eth0, as the bridge plugin says it; an ifb, and a dummy whose mac is none. */
async function bridgeShape(site: Site): Promise<void> {
  const interfaces = [
    { name: "cni0", mac: "2e:00:00:00:00:03" },
    { name: "vethabc", mac: "2e:00:00:00:00:04" },
    { name: "eth0", mac: "2e:00:00:00:00:05", sandbox: "$NETNS" },
    { name: "bwp1", mac: "2e:00:00:00:00:06" },
    { name: "dummy1", mac: "0", sandbox: "0" },
  ];
  const addresses = [
    { address: "10.99.0.1/24", interface: 0 },
    ...site.pod.addresses.map((address) => ({ address, interface: 2 })),
    { address: "192.0.2.1/32", interface: 4 },
  ];
  assert.deepEqual(await addressesTold(site, { interfaces, ips: addresses }), site.pod.addresses);
}

async function families(site: Site): Promise<void> {
  for (const addresses of [
    ["10.99.0.2/24"],
    ["fd99::2/64"],
    ["10.99.0.2/24", "fd99::2/64"],
    ["10.99.0.2/24", "10.99.7.2/24"],
  ]) {
    const pod = await site.addPod({ addresses });
    expectOutcome(await site.run({ verb: "ADD" }, {}, pod), "success");
    assert.equal(site.enforcer.adds.at(-1)?.addresses.length, addresses.length);
  }
}

async function addTwice(site: Site): Promise<void> {
  // The second set would name a link-local address that came after the first.
  await site.pod.settle();
  expectOutcome(await site.run({ verb: "ADD" }), "success");
  const before = readTables(site.pod.netns);
  const run = await site.run({ verb: "ADD" });
  if (run.exitCode === 0) expectOutcome(run, "success");
  assert.deepEqual(readTables(site.pod.netns), before);
  assert.equal(site.enforcer.attachments.size, 1);
}

/** A second interface of the same container, and the same names in another network: neither touches the first. */
async function independent(site: Site, second: RunData): Promise<void> {
  await command("ip", "-n", site.pod.name, "link", "add", "eth1", "type", "bridge");
  for (const address of site.pod.addresses) {
    await command("ip", "-n", site.pod.name, "address", "add", address, "dev", "eth1");
  }
  expectOutcome(await site.run({ verb: "ADD" }), "success");
  expectOutcome(await site.run({ ...second, verb: "ADD" }), "success");
  assert.equal(site.enforcer.attachments.size, 2);
  expectOutcome(await site.run({ verb: "CHECK" }), "success");
  expectOutcome(await site.run({ ...second, verb: "DEL" }), "success");
  assert.equal(isEnforced(site.pod.netns), true, "the first one's rules stay");
  expectOutcome(await site.run({ verb: "DEL" }), "success");
  assert.equal(isEnforced(site.pod.netns), false);
}

async function secondInterface(site: Site): Promise<void> {
  const interfaces = [{ name: "eth1", sandbox: site.pod.netns }];
  const prevResult = { ...site.pod.result(), interfaces, ips: ips(site, { interface: 0 }) };
  await independent(site, {
    verb: "ADD",
    env: { CNI_IFNAME: "eth1" },
    stdin: { name: "second", prevResult },
  });
}

async function rolledBack(site: Site): Promise<void> {
  const sysctls = await settings(site);
  site.enforcer.reply = (request) =>
    request.op === "enforce" ? encodeError({ code: 105, message: "no" }) : undefined;
  expectFailure(await site.run({ verb: "ADD" }), { code: 105 });
  assert.equal(isEnforced(site.pod.netns), false);
  assert.equal(await settings(site), sysctls);
  assert.equal(site.enforcer.attachments.size, 0);
  expectOutcome(await site.run({ verb: "DEL" }), "success");
}

function settings(site: Site): Promise<string> {
  return site.pod.exec("sysctl", "-a", "--pattern", "nf_conntrack_tcp_timeout|tcp_fastopen$");
}

/** By bash's own sockets: whether the pod reaches its peer's port in time. */
async function reaches(site: Site, seconds: number): Promise<boolean> {
  try {
    await site.pod.exec("timeout", String(seconds), "bash", "-c", "exec 3<>/dev/tcp/10.99.0.1/7777");
    return true;
  } catch {
    return false;
  }
}

async function effective(site: Site): Promise<void> {
  const script =
    "import socket,time; s=socket.create_server(('10.99.0.1',7777)); print('up',flush=True); time.sleep(60)";
  const server = site.pod.execAtPeer("timeout", "60", "python3", "-c", script);
  server.catch(() => undefined);
  for (let tries = 0; tries < 50 && !(await reaches(site, 1)); tries++) await sleep(100);
  assert.equal(await reaches(site, 5), true, "without enforcement the port is reachable");
  expectOutcome(await site.run({ verb: "ADD" }), "success");
  assert.equal(await reaches(site, 1), false, "the first packet after ADD meets the rules");
  expectOutcome(await site.run({ verb: "DEL" }), "success");
  assert.equal(await reaches(site, 5), true, "without the rules it is reachable again");
}

/** What ADD and DEL could change outside of the pod, seen in the namespace that the plugin runs in. */
async function snapshot(host: string): Promise<string> {
  const inHost = (...argv: string[]): Promise<string> => command("ip", "netns", "exec", host, ...argv);
  const parts = [
    inHost("ip", "-j", "link"),
    inHost("ip", "-j", "address"),
    inHost("ip", "-j", "route", "show", "table", "all"),
    inHost("nft", "list", "ruleset"),
    inHost("sysctl", "-a", "--pattern", "^net\\.(netfilter|ipv4\\.(conf|tcp_fastopen)|ipv6\\.conf)"),
  ];
  return (await Promise.all(parts)).join("\n").replace(/^net\.netfilter\.nf_conntrack_count.*$/m, "");
}

async function nothingOutside(site: Site): Promise<void> {
  const host = `${site.pod.name}-peer`;
  const argv = ["/usr/bin/nsenter", `--net=/run/netns/${host}`, "--", "$PLUGIN"];
  await site.pod.settle();
  const before = await snapshot(host);
  for (const verb of ["ADD", "CHECK"] as const) expectOutcome(await site.run({ verb }, { argv }), "success");
  assert.equal(await snapshot(host), before);
  expectOutcome(await site.run({ verb: "DEL" }, { argv }), "success");
  assert.equal(await snapshot(host), before);
}

/** Namespaces of all of a process's threads. */
function namespacesOf(child: ChildProcess): string[] {
  const tasks = `/proc/${String(child.pid)}/task`;
  return readdirSync(tasks).map((task) => readlinkSync(join(tasks, task, "ns/net")));
}

async function staysOutside(site: Site): Promise<void> {
  let child: ChildProcess | undefined;
  let seen: string[] = [];
  site.enforcer.reply = async (request) => {
    if (request.op === "enforce" && child !== undefined) seen = namespacesOf(child);
    await sleep(1);
    return undefined;
  };
  expectOutcome(await site.run({ verb: "ADD" }, { onStart: (started) => (child = started) }), "success");
  assert.deepEqual([...new Set(seen)], [readlinkSync("/proc/self/ns/net")]);
}

const chainFolder = process.env["CNI_BIN"] ?? "/usr/lib/cni";

/** Runs one of the reference plugins of this machine as the runtime would, with our site's container. */
async function runOther(site: Site, type: string, verb: "ADD" | "DEL", config: Config): Promise<Run> {
  const stdin = { cniVersion: "1.0.0", socket: undefined, type, ...config };
  return site.run({ verb, stdin, env: { CNI_PATH: chainFolder } }, { argv: [join(chainFolder, type)] });
}

const others: Readonly<Record<string, Config>> = {
  tuning: { sysctl: { "net.core.somaxconn": "500" } },
  bandwidth: { ingressRate: 1_000_000, ingressBurst: 1_000_000 },
  sbr: {},
};

async function chained(site: Site): Promise<Skip | undefined> {
  const missing = Object.keys(others).filter((type) => !existsSync(join(chainFolder, type)));
  if (missing.length > 0) return { skipped: `no ${missing.join(", ")} in ${chainFolder} (set CNI_BIN)` };
  const tuned = await runOther(site, "tuning", "ADD", { ...others["tuning"] });
  assert.equal(tuned.exitCode, 0, tuned.stdout);
  const prevResult = JSON.parse(tuned.stdout) as Config;
  const ours = await site.run({
    verb: "ADD",
    stdin: { cniVersion: "1.0.0", prevResult: prevResult as Json },
  });
  assert.deepEqual(JSON.parse(ours.stdout), prevResult);
  const after = await runOther(site, "tuning", "ADD", {
    ...others["tuning"],
    prevResult: JSON.parse(ours.stdout) as Json,
  });
  assert.equal(after.exitCode, 0, after.stdout);
  expectOutcome(await site.run({ verb: "CHECK" }), "success");
  expectOutcome(await site.run({ verb: "DEL" }), "success");
  return undefined;
}

export const addCases: readonly Case[] = [
  ...eachRun(
    89,
    "%s",
    "pod",
    {
      "no prevResult": { verb: "ADD", stdin: { prevResult: undefined } },
      "prevResult null": { verb: "ADD", stdin: { prevResult: null } },
    },
    { code: 7, says: ["must be called as chained plugin"] },
  ),
  ...versions.map((cniVersion) =>
    oneRun(
      90,
      `prevResult passes through in ${cniVersion}`,
      "pod",
      { verb: "ADD", stdin: { cniVersion } },
      "success",
    ),
  ),
  steps(91, "the output's version is the configuration's", "pod", async (site) => {
    for (const [cniVersion, result] of [
      ["0.3.1", "0.4.0"],
      ["0.4.0", "0.3.0"],
      ["1.1.0", "1.0.0"],
      ["1.0.0", "1.1.0"],
    ] as const) {
      const prevResult = site.pod.result(result);
      expectOutcome(await site.run({ verb: "ADD", stdin: { cniVersion, prevResult } }), "success");
    }
  }),
  steps(92, "prevResult without version is the configuration's", "pod", async (site) => {
    for (const cniVersion of versions) {
      const prevResult = omit(site.pod.result(cniVersion), "cniVersion");
      expectOutcome(await site.run({ verb: "ADD", stdin: { cniVersion, prevResult } }), "success");
    }
  }),
  steps(93, "prevResult of another family of versions", "pod", async (site) => {
    for (const [cniVersion, result] of [
      ["0.4.0", "1.0.0"],
      ["1.1.0", "0.3.1"],
    ] as const) {
      const prevResult = site.pod.result(result);
      expectFailure(await site.run({ verb: "ADD", stdin: { cniVersion, prevResult } }), {
        code: 7,
        says: [result],
      });
    }
  }),
  steps(94, "prevResult of an unknown version", "pod", async (site) => {
    for (const version of ["9.9.9", "0.2.0", 1, {}]) {
      expectFailure(await site.run(withResult(site, { cniVersion: version })), {
        code: 7,
        says: ["cniVersion"],
      });
    }
  }),
  steps(95, "ips[].version stays in 0.x and stays away in 1.x", "pod", async (site) => {
    for (const cniVersion of versions) {
      const run = await site.run({ verb: "ADD", stdin: { cniVersion } });
      assert.equal(run.stdout.includes('"version":"4"'), cniVersion.startsWith("0."));
    }
  }),
  steps(96, "0.3.0's ip in place of ips", "pod", async (site) => {
    const { ips: list, ...rest } = site.pod.result("0.3.0");
    const prevResult = { ...rest, ip: list ?? [] };
    expectOutcome(await site.run({ verb: "ADD", stdin: { cniVersion: "0.3.0", prevResult } }), "success");
    assert.equal(site.enforcer.adds[0]?.addresses.length, 2);
  }),
  steps(97, "0.1.0 and 0.2.0 aren't listed, and refused", "pod", async (site) => {
    for (const cniVersion of ["0.1.0", "0.2.0"]) {
      const prevResult = { cniVersion, ip4: { ip: "10.99.0.2/24" } };
      expectFailure(await site.run({ verb: "ADD", stdin: { cniVersion, prevResult } }), { code: 1 });
    }
  }),
  steps(98, "what 1.1.0 added survives", "pod", async (site) =>
    expectOutcome(await site.run(withNetns(site, newFields)), "success"),
  ),
  steps(99, "interface 0 survives, and a missing one stays missing", "pod", async (site) => {
    const interfaces = [{ name: "eth0", sandbox: site.pod.netns }];
    const [first = "", second = ""] = site.pod.addresses;
    const list = [{ address: first, interface: 0 }, { address: second }];
    assert.deepEqual(await addressesTold(site, { interfaces, ips: list }), site.pod.addresses);
  }),
  steps(100, "an interface that isn't there is none", "pod", async (site) => {
    for (const index of [-1, 7, 4294967296, "1", 0.5]) {
      assert.deepEqual(
        await addressesTold(site, { ips: ips(site, { interface: index }) }),
        site.pod.addresses,
      );
    }
  }),
  steps(101, "unknown members and large numbers come out as text", "pod", keepsText),
  steps(102, "dns survives", "pod", async (site) => {
    for (const dns of [
      {},
      { nameservers: ["10.96.0.10"], domain: "a", search: ["b", "c"], options: ["ndots:5"] },
    ]) {
      expectOutcome(await site.run(withResult(site, { dns })), "success");
    }
  }),
  steps(103, "routes absent, empty and without gateway", "pod", async (site) => {
    for (const routes of [[], [{ dst: "0.0.0.0/0" }], [{ dst: "::/0", gw: "fd99::1" }]]) {
      expectOutcome(await site.run(withResult(site, { routes })), "success");
    }
    const prevResult = omit(site.pod.result(), "routes");
    expectOutcome(await site.run({ verb: "ADD", stdin: { prevResult } }), "success");
  }),
  steps(
    104,
    "addresses of other interfaces, and of the host's eth0, aren't the pod's",
    "pod",
    async (site) => {
      const interfaces = [
        { name: "eth0" },
        { name: "eth0", sandbox: site.pod.netns },
        { name: "eth1", sandbox: site.pod.netns },
      ];
      const list = [
        { address: "192.0.2.1/24", interface: 0 },
        ...ips(site, {}),
        { address: "192.0.2.2/24", interface: 2 },
      ];
      assert.deepEqual(await addressesTold(site, { interfaces, ips: list }), site.pod.addresses);
    },
  ),
  steps(105, "the bridge plugin's shape", "pod", bridgeShape),
  steps(106, "interfaces of earlier chained plugins are ignored", "pod", bridgeShape),
  steps(107, "without interfaces the namespace tells", "pod", async (site) => {
    const result = omit(site.pod.result(), "interfaces");
    const prevResult = {
      ...result,
      ips: [{ address: "198.51.100.9/24" }, ...site.pod.addresses.map((address) => ({ address }))],
    };
    expectOutcome(await site.run({ verb: "ADD", stdin: { prevResult } }), "success");
    assert.deepEqual(
      site.enforcer.adds[0]?.addresses.map(({ address }) => address),
      ["10.99.0.2", "fd99::2"],
    );
  }),
  steps(108, "without addresses nothing is allowed silently", "pod", async (site) => {
    for (const list of [[], [{ address: "192.0.2.1/24", interface: 0 }]]) {
      expectFailure(await site.run(withResult(site, { ips: list })), { code: 7, says: ["no address"] });
    }
    assert.equal(site.enforcer.adds.length, 0);
  }),
  steps(108, "addresses that are none", "pod", async (site) => {
    for (const list of ["x", [1], [{ address: "10.99.0.2" }], [{ address: "x/24" }], [{}], {}]) {
      expectFailure(await site.run(withResult(site, { ips: list })), { code: 7, says: ["prevResult"] });
    }
  }),
  steps(109, "one family, both, and two addresses of one", "enforcer", families),
  steps(110, "the host's end of the link isn't needed", "pod", async (site) => {
    const interfaces = [{ name: "eth0", sandbox: site.pod.netns }];
    assert.deepEqual(
      await addressesTold(site, { interfaces, ips: ips(site, { interface: 0 }) }),
      site.pod.addresses,
    );
  }),
  steps(111, "an interface that is no veth is enforced all the same", "enforcer", async (site) => {
    const pod = await site.addPod({ kind: "bridge" });
    for (const verb of ["ADD", "CHECK", "DEL"] as const)
      expectOutcome(await site.run({ verb }, {}, pod), "success");
  }),
  steps(112, "an interface that isn't in the namespace", "pod", async (site) => {
    const interfaces = [{ name: "eth9", sandbox: site.pod.netns }];
    const data = withResult(site, { interfaces, ips: ips(site, { interface: 0 }) });
    expectFailure(await site.run({ ...data, env: { CNI_IFNAME: "eth9" } }), { code: 110, says: ["eth9"] });
  }),
  steps(112, "an address that isn't on the interface", "pod", async (site) => {
    const list = [...ips(site, {}), { address: "10.99.0.77/24", interface: 1 }];
    expectFailure(await site.run(withResult(site, { ips: list })), { code: 110, says: ["10.99.0.77"] });
  }),
  steps(113, "a second ADD makes no second set of rules", "pod", addTwice),
  steps(114, "another interface of the container is independent", "pod", secondInterface),
  steps(115, "the same names in another network are independent", "pod", (site) =>
    independent(site, { verb: "ADD", stdin: { name: "second" } }),
  ),
  steps(116, "a failure half-way is rolled back", "pod", rolledBack),
  steps(117, "the first packet after ADD meets the rules", "pod", effective),
  steps(118, "without enforcer ADD fails with code 11, in bounded time", "enforcer", async (site) => {
    const pod = await site.addPod();
    await site.enforcer.close();
    const run = await site.run({ verb: "ADD" }, {}, pod);
    expectFailure(run, { code: 11, says: ["unreachable"] });
    assert.ok(run.elapsedMs < 5000);
    assert.equal(isEnforced(pod.netns), false);
  }),
  steps(119, "no option opens a pod when the enforcer is away", "pod", async (site) => {
    await site.enforcer.close();
    const stdin = {
      failOpen: true,
      fail_open: true,
      failurePolicy: "Ignore",
      optional: true,
      mode: "permissive",
    };
    expectFailure(await site.run({ verb: "ADD", stdin }), { code: 11 });
  }),
  steps(120, "an ADD that the enforcer itself waits for ends by itself", "pod", async (site) => {
    site.enforcer.manner = "silent";
    const run = await site.run({ verb: "ADD", stdin: { timeoutMs: 300 } });
    expectFailure(run, { code: 11 });
    assert.ok(run.elapsedMs < 5000);
  }),
  steps(121, "the enforcer's code comes through", "pod", async (site) => {
    for (const code of [7, 8, 11, 105, 106]) {
      site.enforcer.reply = ({ op }) =>
        op === "add" ? encodeError({ code, message: `says ${code}`, details: "more" }) : undefined;
      expectFailure(await site.run({ verb: "ADD" }), { code, says: [`says ${code}`, "more"] });
    }
    site.enforcer.reply = ({ op }) => (op === "add" ? encodeError({ code: 3, message: "odd" }) : undefined);
    expectFailure(await site.run({ verb: "ADD" }), { code: 114 });
  }),
  steps(122, "nothing outside of the pod changes", "pod", nothingOutside),
  steps(123, "no thread of the plugin is in the pod's namespace while it waits", "pod", staysOutside),
  steps(124, "the result is untouched, a changed MAC included", "pod", async (site) => {
    await command("ip", "-n", site.pod.name, "link", "set", "eth0", "address", "2e:00:00:00:00:99");
    expectOutcome(await site.run({ verb: "ADD" }), "success");
  }),
  steps(125, "in a chain between other plugins", "pod", chained),
];

/** `$NETNS` in a result, replaced. */
function withNetns(site: Site, change: Result): RunData {
  return withResult(site, JSON.parse(JSON.stringify(change).replaceAll("$NETNS", site.pod.netns)) as Result);
}
