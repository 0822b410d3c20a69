/** Traffic that a pod forwards for what runs inside it (a virtual machine, Docker in the pod): the pod's interface judges it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../harness/command.ts";
import { execOk, Lab } from "../harness/lab.ts";
import { connect, startEchoServer } from "../harness/traffic.ts";
import { createPair, type Pair } from "./pair.ts";

const PORT = 8080;

const masquerade = `table ip inner {
  chain post { type nat hook postrouting priority 100; oifname "eth0" masquerade; }
}
`;

describe("a namespace nested in a pod", () => {
  const lab = new Lab();
  let pair: Pair;
  let nested: string;

  beforeAll(async () => {
    pair = await createPair(lab, { mode: "psk" });
    const pod = pair.client.namespace;
    nested = await lab.addNamespace("nested");
    await lab.addVeth({ namespace: nested, name: "eth0" }, { namespace: pod, name: "inner0" });
    await execOk(pod, ["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    await execOk(pod, ["ip", "address", "add", "172.31.0.1/24", "dev", "inner0"]);
    await execOk(nested, ["ip", "address", "add", "172.31.0.2/24", "dev", "eth0"]);
    await execOk(nested, ["ip", "route", "add", "default", "via", "172.31.0.1"]);
    await execOk(pod, ["nft", "-f", "-"], { input: masquerade });
    await startEchoServer(lab, pair.server.namespace, PORT);
  }, 60_000);
  afterAll(() => lab.close());

  test("connects as the pod", async () => {
    const attempt = await connect(nested, pair.server.address, PORT, { bytes: 50_000 });
    expect(attempt).toMatchObject({ outcome: "connected", echoed: 50_000 });
    const record = await waitFor("a flow", async () =>
      (await pair.serverEnforcer.flows()).findLast(({ verdict }) => verdict === "allow"),
    );
    expect(record).toMatchObject({ proof: "token", source: { attributes: { app: "client" } } });
  });

  test("gets nothing outside that no address rule allows", async () => {
    await startEchoServer(lab, pair.cluster.router, PORT);
    const attempt = await connect(nested, "192.168.244.5", PORT, { timeoutMs: 1_000 });
    expect(attempt.outcome).not.toBe("connected");
  });
});
