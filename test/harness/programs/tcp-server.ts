/**
 * TCP (and, with `udp`, UDP) echo server for pods: `tcp-server.ts PORT [HOST]`. Prints `listening PORT` when it is ready, and
 * `connection ADDRESS PORT` for each connection.
 */
import { createServer } from "node:net";

const [port = "0", host = "::"] = process.argv.slice(2);
const server = createServer((socket) => {
  console.log(`connection ${socket.remoteAddress ?? "?"} ${socket.remotePort ?? 0}`);
  socket.on("error", () => undefined);
  socket.pipe(socket);
});
server.listen({ port: Number(port), host, backlog: 4096 }, () => {
  const address = server.address();
  console.log(`listening ${typeof address === "object" ? (address?.port ?? 0) : 0}`);
});
process.once("SIGTERM", () => process.exit(0));
