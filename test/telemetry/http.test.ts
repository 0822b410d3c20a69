import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { serveHttp } from "../../enforcer/telemetry/http.ts";

let server: Server;
let missing: string | undefined;
let metrics: () => Promise<{ contentType: string; text: string }>;

beforeEach(async () => {
  missing = undefined;
  metrics = () => Promise.resolve({ contentType: "text/plain; version=0.0.4", text: "a 1\n" });
  server = await serveHttp("127.0.0.1", 0, { metrics: () => metrics(), unreadiness: () => missing });
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
});

async function get(path: string, method = "GET"): Promise<[number, string, string | null]> {
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
  return [response.status, await response.text(), response.headers.get("content-type")];
}

test("metrics, health and readiness", async () => {
  expect(await get("/metrics")).toEqual([200, "a 1\n", "text/plain; version=0.0.4"]);
  expect(await get("/metrics?x=1", "HEAD")).toEqual([200, "", "text/plain; version=0.0.4"]);
  expect((await get("/healthz")).slice(0, 2)).toEqual([200, "ok\n"]);
  expect((await get("/readyz")).slice(0, 2)).toEqual([200, "ready\n"]);
  missing = "the certificate has expired";
  expect((await get("/readyz")).slice(0, 2)).toEqual([503, "not ready: the certificate has expired\n"]);
});

test("nothing else is there, and nothing can be changed", async () => {
  expect((await get("/"))[0]).toBe(404);
  expect((await get("/metrics/"))[0]).toBe(404);
  expect((await get("/metrics", "POST"))[0]).toBe(405);
});

test("metrics that cannot be collected are an answer", async () => {
  metrics = () => Promise.reject(new Error("no"));
  expect((await get("/metrics"))[0]).toBe(500);
});

test("a port that is taken is an error with a name", async () => {
  const { port } = server.address() as AddressInfo;
  const sources = { metrics, unreadiness: () => undefined };
  await expect(serveHttp("127.0.0.1", port, sources)).rejects.toMatchObject({
    name: "OperationError",
    code: "io",
  });
});
