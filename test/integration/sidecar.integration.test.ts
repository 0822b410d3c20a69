/** Pods with a redirecting sidecar, as service meshes make them: what the application sends and gets passes a proxy in the pod. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runOk, waitFor, type BackgroundProcess } from "../harness/command.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { connect, startEchoServer } from "../harness/traffic.ts";
import { createPair, type Pair } from "./pair.ts";

const ALLOWED = 8080;
const DENIED = 8081;
const PROXY_USER = 1337;
const OUTBOUND = 15_001;
const INBOUND = 15_006;

const policy = `version: 1
policies:
  - name: servers
    subject: { matchLabels: { app: server } }
    ingress: [{ name: in, from: [{ matchLabels: { app: client } }], ports: [{ port: ${ALLOWED} }] }]
  - name: clients
    subject: { matchLabels: { app: client } }
    egress: [{ name: out, to: [{ matchLabels: { app: server } }] }]
`;

/** Everything by TCP, but for the proxy's own and the loopback interface's. */
const rules = [
  ["OUTPUT", "!", "-o", "lo", "-p", "tcp", "-m", "owner", "!", "--uid-owner", String(PROXY_USER)],
  ["PREROUTING", "!", "-i", "lo", "-p", "tcp"],
] as const;

describe("a redirecting sidecar", () => {
  const lab = new Lab();
  let pair: Pair;
  let proxies: { client: BackgroundProcess; server: BackgroundProcess };

  const addSidecar = async (namespace: string, program: string): Promise<BackgroundProcess> => {
    for (const iptables of ["iptables", "ip6tables"]) {
      for (const [index, rule] of rules.entries()) {
        const target = ["-j", "REDIRECT", "--to-ports", String(index === 0 ? OUTBOUND : INBOUND)];
        await execOk(namespace, [iptables, "-w", "-t", "nat", "-A", ...rule, ...target]);
      }
    }
    const proxy = lab.start(namespace, [program, String(PROXY_USER), String(OUTBOUND), String(INBOUND)]);
    await proxy.waitForOutput(/^listening$/m);
    return proxy;
  };

  beforeAll(async () => {
    pair = await createPair(lab, { mode: "psk", policy });
    const program = join(lab.folder, "sidecar");
    const source = join(import.meta.dirname, "../harness/programs/sidecar.c");
    await runOk(["cc", "-O1", "-Wall", "-Wextra", "-o", program, source]);
    const { client, server } = pair;
    proxies = {
      client: await addSidecar(client.namespace, program),
      server: await addSidecar(server.namespace, program),
    };
    for (const port of [ALLOWED, DENIED]) await startEchoServer(lab, server.namespace, port);
  }, 60_000);
  afterAll(() => lab.close());

  test.each(["address", "address6"] as const)(
    "at both ends: what policy allows passes both proxies (%s)",
    async (family) => {
      const { client, server, serverEnforcer } = pair;
      const attempt = await connect(client.namespace, server[family], ALLOWED, {
        bytes: 300_000,
        timeoutMs: 10_000,
      });
      expect(attempt).toMatchObject({ outcome: "connected", echoed: 300_000 });
      const plain = server[family];
      const seen = plain.includes(":") ? plain : `::ffff:${plain}`;
      expect(proxies.client.stdout).toContain(`${OUTBOUND} -> ${seen} ${ALLOWED}\n`);
      expect(proxies.server.stdout).toContain(`${INBOUND} -> ${seen} ${ALLOWED}\n`);
      const record = await waitFor("a flow", async () =>
        (await serverEnforcer.flows()).find(
          ({ verdict, destination }) =>
            verdict === "allow" && (destination as { address: string }).address === server[family],
        ),
      );
      expect(record).toMatchObject({
        proof: "token",
        rule: "servers/in",
        source: { attributes: { app: "client" } },
        destination: { port: ALLOWED },
      });
    },
  );

  test("what policy denies reaches the client's proxy, and no other", async () => {
    const { client, server } = pair;
    const attempt = await connect(client.namespace, server.address, DENIED, { timeoutMs: 1_500 });
    // The proxy in the client's own pod accepts before it knows.
    expect(attempt.echoed).toBe(0);
    expect(proxies.client.stdout).toContain(` ${DENIED}\n`);
    expect(proxies.server.stdout).not.toContain(` ${DENIED}\n`);
  });

  test("whoever has no identity reaches neither the application nor the proxy", async () => {
    const { server, serverEnforcer, cluster } = pair;
    for (const stranger of [serverEnforcer.node.namespace, cluster.router]) {
      for (const port of [ALLOWED, INBOUND, OUTBOUND]) {
        const attempt = await connect(stranger, server.address, port, { timeoutMs: 500 });
        expect(attempt.outcome, String(port)).toBe("timeout");
      }
    }
    const { stdout } = proxies.server;
    expect(stdout.split("\n").filter((line) => line.includes("->"))).toHaveLength(2);
  });

  test("what is redirected stays authorised while the enforcers are away", async () => {
    const { client, server, clientEnforcer, serverEnforcer } = pair;
    const script = `
      const socket = require("node:net").connect(${ALLOWED}, ${JSON.stringify(server.address)});
      socket.on("data", (data) => process.stdout.write("echo " + data + "\\n"));
      process.stdin.on("data", (data) => socket.write(String(data).trim()));`;
    const talker = lab.start(client.namespace, [process.execPath, "-e", script]);
    const talk = async (word: string): Promise<void> => {
      talker.child.stdin?.write(`${word}\n`);
      await talker.waitForOutput(new RegExp(`echo ${word}`));
    };
    await talk("before");
    await Promise.all([clientEnforcer.kill(), serverEnforcer.kill()]);
    await talk("without");
    expect((await connect(client.namespace, server.address, ALLOWED, { timeoutMs: 1_000 })).echoed).toBe(0);
    await talker.stop();
  });
});
