/**
 * An application in a pod that is told what to do by lines of JSON on stdin, and prints what reaches it:
 *   {"do":"listen","port":N} · {"do":"connect","id":S,"host":S,"port":N,"localPort":N,"say":S} · {"do":"end"}, by RST
 * prints `listening N`, `connected ID`, `accepted ADDRESS PORT`, `heard "TEXT"` for every piece that an application got,
 * and `failed ID CODE`. It never says anything but what it was told to.
 */
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";

type Command =
  | { do: "listen"; port: number }
  | { do: "connect"; id: string; host: string; port: number; localPort: number; say: string }
  | { do: "end" };

const open = new Set<Socket>();

function follow(socket: Socket): void {
  open.add(socket);
  socket.on("data", (piece) => console.log(`heard ${JSON.stringify(piece.toString("latin1"))}`));
  socket.on("close", () => open.delete(socket));
}

function listen(port: number): void {
  const server = createServer((socket) => {
    console.log(`accepted ${socket.remoteAddress ?? "?"} ${socket.remotePort ?? 0}`);
    socket.on("error", () => undefined);
    follow(socket);
  });
  server.listen({ port, host: "::" }, () => console.log(`listening ${port}`));
}

function dial({ id, host, port, localPort, say }: Extract<Command, { do: "connect" }>): void {
  const socket = connect({ host, port, localPort, noDelay: true });
  socket.on("connect", () => {
    console.log(`connected ${id}`);
    if (say !== "") socket.write(say);
  });
  socket.on("error", (error: NodeJS.ErrnoException) => console.log(`failed ${id} ${error.code ?? "?"}`));
  follow(socket);
}

function end(): void {
  for (const socket of open) socket.resetAndDestroy();
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line) as Command;
  if (command.do === "listen") listen(command.port);
  else if (command.do === "connect") dial(command);
  else end();
});
