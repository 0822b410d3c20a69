/**
 * UDP for pods. `udp-echo.ts serve PORT [HOST]` echoes datagrams and prints `listening PORT`; `udp-echo.ts ask HOST PORT TIMEOUT_MS` sends one and
 * prints `answered`, or `silent` when nothing comes back in time, or the error's code.
 */
import { createSocket } from "node:dgram";

const [verb = "", ...rest] = process.argv.slice(2);

function serve(port: number, host = "::"): void {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.on("message", (message, from) => {
    socket.send(message, from.port, from.address);
  });
  socket.bind(port, host, () => {
    console.log(`listening ${port}`);
  });
}

function ask(host: string, port: number, timeoutMs: number): void {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  const finish = (answer: string): void => {
    console.log(answer);
    process.exit(0);
  };
  socket.on("message", () => finish("answered"));
  socket.on("error", (error: NodeJS.ErrnoException) => finish(error.code ?? "error"));
  socket.connect(port, host, () => {
    socket.send("hello");
  });
  setTimeout(() => finish("silent"), timeoutMs);
}

if (verb === "serve") serve(Number(rest[0]), rest[1]);
else ask(rest[0] ?? "", Number(rest[1]), Number(rest[2]));
