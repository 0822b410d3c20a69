/**
 * TCP client for pods: `tcp-client.ts HOST PORT TIMEOUT_MS BYTES [TIMES]`. Connects TIMES times one after the other, sends BYTES bytes
 * each, reads them back, and prints one JSON line for each: `{"outcome":"connected","connectUs":…,"echoed":…}`, or an outcome of
 * `refused` (RST), `timeout`, `unreachable`, `reset` (after it was established), or another error code.
 */
import { connect, type Socket } from "node:net";

const [host = "", port = "0", timeoutMs = "3000", bytes = "1", times = "1"] = process.argv.slice(2);
const OUTCOMES: Record<string, string> = {
  ECONNREFUSED: "refused",
  ETIMEDOUT: "timeout",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
  ECONNRESET: "reset",
  EPIPE: "reset",
};

interface Attempt {
  outcome: string;
  connectUs?: number;
  echoed: number;
}

function attempt(): Promise<Attempt> {
  return new Promise((resolve) => {
    const begin = process.hrtime.bigint();
    const result: Attempt = { outcome: "timeout", echoed: 0 };
    const socket: Socket = connect({ host, port: Number(port), noDelay: true });
    const finish = (outcome: string) => {
      clearTimeout(timer);
      result.outcome = outcome;
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => finish("timeout"), Number(timeoutMs));
    socket.once("error", (error: NodeJS.ErrnoException) =>
      finish(OUTCOMES[error.code ?? ""] ?? String(error.code)),
    );
    socket.once("connect", () => {
      result.connectUs = Number((process.hrtime.bigint() - begin) / 1000n);
      if (Number(bytes) === 0) finish("connected");
      else socket.write(Buffer.alloc(Number(bytes), 0x74));
    });
    socket.on("data", (piece) => {
      result.echoed += piece.length;
      if (result.echoed >= Number(bytes)) finish("connected");
    });
    socket.once("end", () => finish("closed"));
  });
}

for (let i = 0; i < Number(times); i++) console.log(JSON.stringify(await attempt()));
