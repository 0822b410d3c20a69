/** Owns the HTTP server for scrapers and probes: /metrics, /healthz, /readyz, and nothing else. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { OperationError } from "../operation-error.ts";

/** What the server shows; each is asked at every request. */
export interface HttpSources {
  metrics(): Promise<{ readonly contentType: string; readonly text: string }>;
  /** `undefined` when ready; else what is missing. */
  unreadiness(): string | undefined;
}

const CONNECTIONS = 64;
const REQUEST_TIMEOUT_MS = 5000;

interface Page {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
}

/** Listens at `host`:`port` (0: any free one). Rejects with `OperationError` where that fails. */
export function serveHttp(host: string, port: number, sources: HttpSources): Promise<Server> {
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS });
  server.maxConnections = CONNECTIONS;
  server.keepAliveTimeout = REQUEST_TIMEOUT_MS;
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    void answer(request, response, sources);
  });
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      reject(
        new OperationError(
          "io",
          "serve metrics",
          `cannot listen at ${host}:${port}: ${error.message}`,
          error,
        ),
      );
    });
    server.listen(port, host, () => {
      resolve(server);
    });
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  sources: HttpSources,
): Promise<void> {
  const { status, contentType, text } = await page(request, sources).catch(() =>
    plain(500, "the metrics could not be collected"),
  );
  response.writeHead(status, { "content-type": contentType, "content-length": Buffer.byteLength(text) });
  response.end(request.method === "HEAD" ? "" : text);
}

async function page(request: IncomingMessage, sources: HttpSources): Promise<Page> {
  if (request.method !== "GET" && request.method !== "HEAD") return plain(405, "only GET and HEAD");
  const [path = ""] = (request.url ?? "").split("?", 1);
  switch (path) {
    case "/metrics":
      return { status: 200, ...(await sources.metrics()) };
    case "/healthz":
      return plain(200, "ok");
    case "/readyz": {
      const missing = sources.unreadiness();
      return missing === undefined ? plain(200, "ready") : plain(503, `not ready: ${missing}`);
    }
    default:
      return plain(404, "not here: /metrics, /healthz, /readyz");
  }
}

function plain(status: number, text: string): Page {
  return { status, contentType: "text/plain; charset=utf-8", text: `${text}\n` };
}
