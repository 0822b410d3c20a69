/** Traffic inside namespaces: TCP echo servers and clients, run by the pinned runtime. */
import { join } from "node:path";
import { nodeBinary } from "./binaries.ts";
import { exec, type Lab } from "./lab.ts";
import type { BackgroundProcess } from "./command.ts";

const programs = join(import.meta.dirname, "programs");

export interface Attempt {
  /** `refused`: answered by a RST before it was established; `reset`: afterwards; `timeout`: silence. */
  readonly outcome: "connected" | "refused" | "timeout" | "unreachable" | "reset" | "closed" | (string & {});
  /** From connect() to an established connection; absent when there was none. */
  readonly connectUs?: number;
  /** Bytes that came back. */
  readonly echoed: number;
}

export interface ConnectOptions {
  readonly timeoutMs?: number;
  /** How many bytes go to the echo server and back; 0 for connect alone. */
  readonly bytes?: number;
  readonly times?: number;
}

/** Starts an echo server in a namespace (both families) and waits until it listens. */
export async function startEchoServer(
  lab: Lab,
  namespace: string,
  port: number,
  host = "::",
): Promise<BackgroundProcess> {
  const server = lab.start(namespace, [nodeBinary, join(programs, "tcp-server.ts"), String(port), host]);
  await server.waitForOutput(/^listening (\d+)$/m);
  return server;
}

/** Connects from a namespace `times` times, one after the other. */
export async function connectTimes(
  namespace: string,
  host: string,
  port: number,
  options: ConnectOptions = {},
): Promise<Attempt[]> {
  const { timeoutMs = 3_000, bytes = 1, times = 1 } = options;
  const argv = [nodeBinary, join(programs, "tcp-client.ts"), host, String(port)];
  const result = await exec(namespace, [...argv, String(timeoutMs), String(bytes), String(times)], {
    timeoutMs: times * timeoutMs + 10_000,
  });
  const attempts = result.stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Attempt);
  if (attempts.length !== times) throw new Error(`the client in ${namespace}: ${result.stderr}`);
  return attempts;
}

/** Connects once. */
export async function connect(
  namespace: string,
  host: string,
  port: number,
  options: ConnectOptions = {},
): Promise<Attempt> {
  const [attempt] = await connectTimes(namespace, host, port, options);
  if (attempt === undefined) throw new Error("no attempt was made");
  return attempt;
}

/** Starts a UDP echo server in a namespace (both families, unless `host` is an address) and waits until it listens. */
export async function startUdpEcho(
  lab: Lab,
  namespace: string,
  port: number,
  host = "::",
): Promise<BackgroundProcess> {
  const server = lab.start(namespace, [
    nodeBinary,
    join(programs, "udp-echo.ts"),
    "serve",
    String(port),
    host,
  ]);
  await server.waitForOutput(/^listening/m);
  return server;
}

/** Sends one datagram from a namespace: `answered`, `silent`, or an error's code. */
export async function askUdp(
  namespace: string,
  host: string,
  port: number,
  timeoutMs = 1_000,
): Promise<string> {
  const argv = [nodeBinary, join(programs, "udp-echo.ts"), "ask", host, String(port), String(timeoutMs)];
  return (await exec(namespace, argv)).stdout.trim();
}
