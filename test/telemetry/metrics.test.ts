import { expect, test } from "vitest";
import type { FlowRecord } from "../../enforcer/handshake/flow-record.ts";
import type { Reason } from "../../enforcer/reason.ts";
import { Metrics } from "../../enforcer/telemetry/metrics.ts";

function decision(verdict: "allow" | "deny", reason: Reason, latencyUs?: number): FlowRecord {
  const end = { address: new Uint8Array(16), port: 1 };
  const record = {
    verdict,
    reason,
    proof: "token",
    reporter: "destination",
    protocol: "tcp",
    source: end,
    destination: end,
  } as const;
  return latencyUs === undefined ? record : { ...record, latencyUs };
}

async function samples(metrics: Metrics): Promise<string[]> {
  return (await metrics.render()).split("\n").filter((line) => line.startsWith("trireme_"));
}

test("names and labels are what dashboards rely on", async () => {
  const metrics = new Metrics();
  metrics.setPus(3);
  metrics.countRequest("ADD", 0);
  metrics.countRequest("ADD", 11);
  metrics.countControlRefusal(100);
  metrics.countRefusedReload("policy");
  metrics.takeReport([decision("allow", "rule-allow", 150), decision("deny", "no-rule", 90)], new Map());
  expect(await samples(metrics)).toEqual(
    expect.arrayContaining([
      'trireme_connections_total{verdict="allow",reason="rule-allow"} 1',
      'trireme_connections_total{verdict="deny",reason="no-rule"} 1',
      'trireme_cni_requests_total{verb="ADD",code="0"} 1',
      'trireme_cni_requests_total{verb="ADD",code="11"} 1',
      'trireme_control_refused_total{code="100"} 1',
      'trireme_reloads_refused_total{what="policy"} 1',
      "trireme_pus 3",
      "trireme_queue_dropped_total 0",
      'trireme_connect_added_seconds_bucket{le="0.0002"} 1',
      "trireme_connect_added_seconds_count 1",
      "trireme_connect_added_seconds_sum 0.00015",
    ]),
  );
});

test("packet totals count as they grow, and what a decision dropped counts once", async () => {
  const metrics = new Metrics();
  metrics.takeReport(
    [decision("deny", "no-rule")],
    new Map([
      ["no-rule", 1],
      ["queue-overflow", 5],
    ]),
  );
  metrics.takeReport(
    [],
    new Map([
      ["no-rule", 3],
      ["queue-overflow", 5],
    ]),
  );
  metrics.takeReport(
    [],
    new Map([
      ["no-rule", 3],
      ["queue-overflow", 7],
    ]),
  );
  expect(metrics.counters).toEqual(
    new Map([
      ["no-rule", 3],
      ["queue-overflow", 7],
    ]),
  );
  expect(await samples(metrics)).toEqual(
    expect.arrayContaining([
      'trireme_connections_total{verdict="deny",reason="no-rule"} 1',
      'trireme_packets_total{reason="no-rule"} 2',
      "trireme_queue_dropped_total 7",
    ]),
  );
});
