/** Who may connect to whom: every pair of pods tried, seen through both enforcers, and compared with what the policy says. */
import { triremeBinary } from "../harness/binaries.ts";
import { run, waitFor } from "../harness/command.ts";
import type { JsonObject } from "../harness/cni-chain.ts";
import { connect, type Attempt } from "../harness/traffic.ts";
import type { Actor } from "./stage.ts";

/** What one enforcer recorded of a connection. */
interface Seen {
  readonly verdict: string;
  readonly reason: string;
  readonly rule?: string;
  readonly latencyUs?: number;
}

export interface Trial {
  readonly from: Actor;
  readonly to: Actor;
  readonly attempt: Attempt;
  /** What the policy file says, by `trireme policy test`. */
  readonly expected: "allow" | "deny";
  /** The newest record of each end; the client's end comes first. An end that was never asked has none. */
  readonly client: Seen | undefined;
  readonly server: Seen | undefined;
}

const CONNECT_TIMEOUT_MS = 2_000;

/** Tries every ordered pair: each pod in turn, all the others at once. */
export async function tryAll(actors: readonly Actor[], policyFile: string): Promise<Trial[]> {
  const trials: Trial[] = [];
  for (const from of actors) {
    const others = actors.filter((to) => to !== from);
    trials.push(...(await Promise.all(others.map((to) => tryPair(from, to, policyFile)))));
  }
  return trials;
}

async function tryPair(from: Actor, to: Actor, policyFile: string): Promise<Trial> {
  const attempt = await connect(from.pod.namespace, to.pod.address, to.role.port, {
    timeoutMs: CONNECT_TIMEOUT_MS,
  });
  const expected = await policySays(from, to, policyFile);
  const client = await seenBy(from, "source", from, to);
  // A connection that the client's end refused at the SYN never reached the server's.
  const server = await seenBy(to, "destination", from, to, client?.reason === "no-egress" ? 0 : 1_000);
  return { from, to, attempt, expected, client, server };
}

/** Whether pods and policy agree: connected exactly if allowed, and every end's record says so. */
export function isAsExpected({ attempt, expected, client, server }: Trial): boolean {
  const records = [client, server].filter((seen) => seen !== undefined);
  if (expected === "deny")
    return attempt.outcome !== "connected" && records.some(({ verdict }) => verdict === "deny");
  return (
    attempt.outcome === "connected" &&
    records.length === 2 &&
    records.every(({ verdict }) => verdict === "allow")
  );
}

async function policySays(from: Actor, to: Actor, policyFile: string): Promise<"allow" | "deny"> {
  const argv = ["policy", "test", policyFile, identity(from), `${identity(to)}:${to.role.port}`];
  const result = await run([triremeBinary(), ...argv]);
  if (result.status === 0) return "allow";
  if (result.status === 3) return "deny";
  throw new Error(`trireme ${argv.join(" ")}: ${result.stdout}${result.stderr}`);
}

/** A pod as `policy test` takes it: the attributes that its token carries. */
function identity({ role }: Actor): string {
  const labels = Object.entries(role.labels).map(([key, value]) => `${key}=${value}`);
  return [...labels, "@ns=default", `@node=${role.node}`].join(",");
}

async function seenBy(
  witness: Actor,
  reporter: "source" | "destination",
  from: Actor,
  to: Actor,
  timeoutMs = 1_000,
): Promise<Seen | undefined> {
  const find = async (): Promise<Seen | undefined> => {
    const flows = await witness.enforcer.flows();
    return flows.findLast((flow) => flow["reporter"] === reporter && isBetween(flow, from, to)) as
      Seen | undefined;
  };
  return waitFor("a flow record", find, timeoutMs, 100).catch(() => undefined);
}

function isBetween(flow: JsonObject, from: Actor, to: Actor): boolean {
  const source = flow["source"] as JsonObject;
  const destination = flow["destination"] as JsonObject;
  const isPair = source["address"] === from.pod.address && destination["address"] === to.pod.address;
  return isPair && destination["port"] === to.role.port;
}
