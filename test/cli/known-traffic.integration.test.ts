/** Known traffic between two real pods, and every number and name that `status`, `flows` and /metrics print about it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { FlowDocument, PuDocument, StatusDocument } from "../../enforcer/control/operator-messages.ts";
import { sleep, waitFor } from "../harness/command.ts";
import type { Enforcer } from "../harness/enforcer.ts";
import { Lab } from "../harness/lab.ts";
import type { Pod } from "../harness/cluster.ts";
import { connect, connectTimes, startEchoServer } from "../harness/traffic.ts";
import { createPair, type Pair } from "../integration/pair.ts";
import { validator } from "./schema.ts";

const policy = `version: 1
policies:
  - name: shop
    subject: { matchLabels: { app: web } }
    egress:
      - { name: to-db, action: allow, to: [{ matchLabels: { app: db } }], ports: [{ port: 8080 }, { port: 8081 }] }
  - name: data
    subject: { matchLabels: { app: db } }
    ingress:
      - { name: from-web, action: allow, from: [{ matchLabels: { app: web } }], ports: [{ port: 8080 }, { port: 8082 }] }
`;

function shape(flow: FlowDocument): string {
  const { verdict, reason, rule, proof, protocol, source, destination } = flow;
  const label = (end: FlowDocument["source"]): string => JSON.stringify(end.attributes?.["app"] ?? null);
  const ends = `${label(source)} ${source.address} -> ${label(destination)} ${destination.address}:${destination.port}`;
  return `${verdict} ${reason} ${rule ?? "-"} ${proof} ${protocol} ${ends}`;
}

async function flowsOf(enforcer: Enforcer): Promise<FlowDocument[]> {
  return (await enforcer.flows()) as unknown as FlowDocument[];
}

async function statusOf(enforcer: Enforcer): Promise<StatusDocument> {
  return (await enforcer.json(["status"])) as unknown as StatusDocument;
}

describe("known traffic", () => {
  const lab = new Lab();
  let pair: Pair;
  const startedMs = Date.now();

  beforeAll(async () => {
    const labels = { clientLabels: { app: "web" }, serverLabels: { app: "db" } };
    pair = await createPair(lab, { mode: "pki", policy, ...labels });
    const { client, server } = pair;
    await startEchoServer(lab, server.namespace, 8080);
    await startEchoServer(lab, server.namespace, 8082);
    for (const attempt of await connectTimes(client.namespace, server.address, 8080, { times: 3 })) {
      expect(attempt.outcome).toBe("connected");
    }
    // The client's own policy refuses: at once. The server's refuses by silence: one SYN within this time.
    expect((await connect(client.namespace, server.address, 8082)).outcome).toBe("refused");
    expect((await connect(client.namespace, server.address, 8081, { timeoutMs: 700 })).outcome).toBe(
      "timeout",
    );
    await sleep(300);
  }, 60_000);
  afterAll(() => lab.close());

  test("flows: every decision, at either end, with its rule", async () => {
    const { client, server, clientEnforcer, serverEnforcer } = pair;
    const ends = (port: number): string => `"web" ${client.address} -> "db" ${server.address}:${port}`;
    const allowed = (rule: string): string => `allow rule-allow ${rule} token tcp ${ends(8080)}`;
    expect((await flowsOf(clientEnforcer)).map(shape)).toEqual([
      ...Array.from({ length: 3 }, () => allowed("shop/to-db")),
      `deny no-rule - token tcp ${ends(8082)}`,
    ]);
    expect((await flowsOf(serverEnforcer)).map(shape).slice(0, 3)).toEqual(
      Array.from({ length: 3 }, () => allowed("data/from-web")),
    );
    expect((await flowsOf(serverEnforcer)).map(shape)).toContain(`deny no-rule - token tcp ${ends(8081)}`);
  });

  test("flows: documents are as published", async () => {
    const validate = validator("flow");
    const ids = new Set((await statusOf(pair.clientEnforcer)).pus.map(({ id }) => id));
    for (const flow of await flowsOf(pair.clientEnforcer)) {
      validate(flow);
      expect(ids).toContain(flow.source.id);
      expect(Date.parse(flow.time)).toBeGreaterThanOrEqual(startedMs);
      expect(flow.latencyUs).toBeGreaterThan(0);
    }
  });

  test("flows: filters, counts and text", async () => {
    const { clientEnforcer, server } = pair;
    const lines = async (...argv: string[]): Promise<string[]> => {
      const { status, stdout } = await clientEnforcer.trireme(["flows", ...argv]);
      expect(status).toBe(0);
      return stdout.trimEnd().split("\n");
    };
    expect(await lines()).toHaveLength(1 + 4);
    expect(await lines("--verdict", "deny")).toHaveLength(1 + 1);
    expect(await lines("--rule", "shop")).toHaveLength(1 + 3);
    expect(await lines("--last", "2", "--verdict", "allow", "--json")).toHaveLength(2);
    expect(await lines("--to", "app=db", "--port", "8080")).toHaveLength(1 + 3);
    expect(await lines("--from", "app=db")).toHaveLength(1);
    expect(await lines("--since", "1h", "--to", server.address)).toHaveLength(1 + 4);
    const [heading = "", row = ""] = await lines("--port", "8082");
    expect(heading.split(/ {2,}/)).toEqual([
      "TIME",
      "VERDICT",
      "PROTO",
      "SOURCE",
      "DESTINATION",
      "REASON",
      "RULE",
      "PROOF",
      "ADDED",
    ]);
    expect(row.split(/ {2,}/).slice(1, 3)).toEqual(["deny", "tcp"]);
    expect((await clientEnforcer.trireme(["flows", "--since", "yesterday"])).status).toBe(2);
  });

  test("flows --follow prints the next decision as it is made", async () => {
    const { client, server, clientEnforcer } = pair;
    const argv = ["flows", "--follow", "--last", "0", "--json", "--socket", clientEnforcer.socket];
    const { triremeBinary } = await import("../harness/binaries.ts");
    const follower = lab.start(undefined, [triremeBinary(), ...argv]);
    await sleep(500);
    const before = (await flowsOf(clientEnforcer)).length;
    expect((await connect(client.namespace, server.address, 8080)).outcome).toBe("connected");
    const [line] = await follower.waitForOutput(/^\{.*\}$/m, 5000);
    expect((JSON.parse(line) as FlowDocument).destination.port).toBe(8080);
    await follower.stop();
    expect(await flowsOf(clientEnforcer)).toHaveLength(before + 1);
  });

  test("status: the PU as it was added, and the counters", async () => {
    const { client, clientEnforcer } = pair;
    const status = await statusOf(clientEnforcer);
    validator("status")(status);
    expect(status.pus).toEqual([puOf(client, status.pus[0])]);
    expect(status.pus[0]?.attributes).toEqual({ "@node": "node-a", "@ns": "default", app: "web" });
    expect(Date.parse(status.enforcer.startedAt)).toBeGreaterThanOrEqual(startedMs - 1000);
    expect(status.warnings).toEqual([]);
    const flows = await flowsOf(clientEnforcer);
    for (const reason of ["rule-allow", "no-rule"]) {
      expect(status.counters[reason]).toBe(flows.filter((flow) => flow.reason === reason).length);
    }
  });

  test("status as text names the PU", async () => {
    const { client, clientEnforcer } = pair;
    const { stdout } = await clientEnforcer.trireme(["status"]);
    const row = stdout.split("\n").find((line) => line.includes(client.address)) ?? "";
    expect(row).toContain("@node=node-a,@ns=default,app=web");
  });

  test("a PU that is deleted is gone from status", async () => {
    const { server, serverEnforcer } = pair;
    await server.delete();
    await waitFor("an empty list", async () => (await statusOf(serverEnforcer)).pus.length === 0);
  });
});

function puOf(pod: Pod, seen: PuDocument | undefined): object {
  return {
    ...seen,
    containerId: pod.attachment.containerId,
    ifname: pod.attachment.ifname,
    netns: pod.attachment.netnsPath,
    addresses: pod.addresses,
  };
}
