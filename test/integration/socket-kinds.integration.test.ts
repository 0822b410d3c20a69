/** Sockets that put more than the plain opening into their segments: Fast Open with data, Multipath TCP, MD5 signatures. Kernels' counters say that they did. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { runOk } from "../harness/command.ts";
import { exec, execOk, Lab } from "../harness/lab.ts";
import type { Pod } from "../harness/cluster.ts";
import type { BackgroundProcess } from "../harness/command.ts";
import { createPair, type Pair } from "./pair.ts";

const source = join(import.meta.dirname, "../harness/programs/socket-kinds.c");
const families = ["address", "address6"] as const;
const hasMultipath = existsSync("/proc/sys/net/mptcp/enabled");

/** The server admits the client at the first of each pair of ports. */
const ports = {
  tfo: { allowed: 8080, denied: 8081 },
  mptcp: { allowed: 8090, denied: 8091 },
  md5: { allowed: 8100, denied: 8101 },
} as const;
type Kind = keyof typeof ports;
const policy = `version: 1
policies:
  - name: client
    subject: { matchLabels: { app: client } }
    egress: [{ name: out, to: [{}] }]
  - name: server
    subject: { matchLabels: { app: server } }
    ingress: [{ name: in, from: [{}], ports: [{ port: ${ports.tfo.allowed} }, { port: ${ports.mptcp.allowed} }, { port: ${ports.md5.allowed} }] }]
`;

/** A counter of a namespace's kernel, as nstat calls it. */
async function counter(pod: Pod, name: string): Promise<number> {
  const { kernel } = JSON.parse(await execOk(pod.namespace, ["nstat", "-a", "-s", "-z", "-j", name])) as {
    kernel: Record<string, number>;
  };
  return kernel[name] ?? 0;
}

describe("sockets of other kinds", () => {
  const lab = new Lab();
  const program = join(lab.folder, "socket-kinds");
  const servers = new Map<number, BackgroundProcess>();
  let pair: Pair;

  async function serve(kind: Kind): Promise<void> {
    for (const port of Object.values(ports[kind])) {
      const server = lab.start(pair.server.namespace, [program, "serve", kind, String(port)]);
      await server.waitForOutput(/^listening/m);
      servers.set(port, server);
    }
  }

  const ask = (
    kind: string,
    host: string,
    port: number,
    text: string,
    client = pair.client,
  ): ReturnType<typeof exec> => exec(client.namespace, [program, "connect", kind, host, String(port), text]);

  beforeAll(async () => {
    await runOk(["cc", "-O1", "-o", program, source]);
    pair = await createPair(lab, { mode: "pki", policy });
    // Client and server without cookies: data in a SYN goes out at once, and a server's stack would deliver it at once.
    for (const { namespace } of [pair.client, pair.server])
      await execOk(namespace, ["sysctl", "-qw", "net.ipv4.tcp_fastopen=0x207"]);
    await serve("tfo");
    await serve("md5");
    if (hasMultipath) await serve("mptcp");
  }, 60_000);
  afterAll(() => lab.close());

  test("without us both kinds do what the other tests show that they don't", async () => {
    const { clientEnforcer, serverEnforcer } = pair;
    const client = await clientEnforcer.node.addPod("plain-client", {}, { trireme: undefined });
    const server = await serverEnforcer.node.addPod("plain-server", {}, { trireme: undefined });
    for (const { namespace } of [client, server])
      await execOk(namespace, ["sysctl", "-qw", "net.ipv4.tcp_fastopen=0x207"]);
    for (const kind of hasMultipath ? (["tfo", "mptcp"] as const) : (["tfo"] as const)) {
      const port = ports[kind].allowed;
      await lab.start(server.namespace, [program, "serve", kind, String(port)]).waitForOutput(/^listening/m);
      expect((await ask(kind, server.address, port, kind, client)).stdout).toBe(`${kind}\n`);
    }
    expect(await counter(server, "TcpExtTCPFastOpenPassive")).toBe(1);
    if (hasMultipath) expect(await counter(server, "MPTcpExtMPCapableSYNRX")).toBe(1);
  });

  test.each(families)(
    "Fast Open: data of the SYN arrives once, after the handshake, by %s",
    async (family) => {
      const { client, server } = pair;
      const before = await counter(client, "TcpExtTCPFastOpenActiveFail");
      const text = `hello by ${family}`;
      const { status, stdout } = await ask("tfo", server[family], ports.tfo.allowed, text);
      expect({ status, stdout }).toEqual({ status: 0, stdout: `${text}\n` });
      expect(servers.get(ports.tfo.allowed)?.stdout.match(new RegExp(`received .*`, "g"))?.at(-1)).toBe(
        `received ${text}`,
      );
      // The SYN had data, and the server didn't acknowledge them with its SYN-ACK.
      expect(await counter(client, "TcpExtTCPFastOpenActiveFail")).toBe(before + 1);
      expect(await counter(server, "TcpExtTCPFastOpenPassive")).toBe(0);
    },
  );

  test.each(families)("Fast Open: nothing of a SYN's data gets past a refusal, by %s", async (family) => {
    const { server } = pair;
    const attempt = await ask("tfo", server[family], ports.tfo.denied, "early");
    expect(attempt.status).not.toBe(0);
    expect(servers.get(ports.tfo.denied)?.stdout).toBe("listening\n");
    expect(await counter(server, "TcpExtTCPFastOpenPassive")).toBe(0);
  });

  test.each(families)("segments signed by MD5 arrive as they were signed, by %s", async (family) => {
    const { server } = pair;
    for (const text of ["one", "two", "three"]) {
      const { status, stdout } = await ask("md5", server[family], ports.md5.allowed, text);
      expect({ status, stdout }).toEqual({ status: 0, stdout: `${text}\n` });
    }
    for (const pod of [pair.client, pair.server])
      for (const name of ["NotFound", "Unexpected", "Failure"])
        expect(await counter(pod, `TcpExtTCPMD5${name}`)).toBe(0);
  });

  test("and the server's stack takes no others", async () => {
    const { server } = pair;
    expect((await ask("unsigned", server.address, ports.md5.allowed, "text")).status).not.toBe(0);
    expect(await counter(server, "TcpExtTCPMD5NotFound")).toBeGreaterThan(0);
  });

  describe.skipIf(!hasMultipath)("Multipath TCP", () => {
    test.each(families)("falls back to TCP at both ends and carries data, by %s", async (family) => {
      const { client, server } = pair;
      const sent = await counter(client, "MPTcpExtMPCapableSYNTX");
      const text = `many ways by ${family}`;
      const { status, stdout } = await ask("mptcp", server[family], ports.mptcp.allowed, text);
      expect({ status, stdout }).toEqual({ status: 0, stdout: `${text}\n` });
      expect(await counter(client, "MPTcpExtMPCapableSYNTX")).toBe(sent + 1);
      expect(await counter(server, "MPTcpExtMPCapableSYNRX")).toBe(0);
      expect(await counter(client, "MPTcpExtMPCapableSYNACKRX")).toBe(0);
    });

    test.each(families)("is refused as any other, by %s", async (family) => {
      const attempt = await ask("mptcp", pair.server[family], ports.mptcp.denied, "any way");
      expect(attempt.status).not.toBe(0);
      expect(servers.get(ports.mptcp.denied)?.stdout).toBe("listening\n");
    });
  });
});
