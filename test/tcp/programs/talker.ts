/**
 * Many TCP sockets under a test's command: words of a line on stdin are a command, lines on stdout say what happens. Data is random; sums
 * say at the end whether what was sent is what was received.
 *
 *   listen PORT [quiet|reset]            PORT listening; connections are called by their peer's port: 40000.1, the next from there 40000.2
 *   connect NAME HOST PORT [FROM_PORT]   NAME connected LOCAL_PORT
 *   send NAME BYTES | end NAME | reset NAME | abandon NAME (close, whatever state it is in)
 *   report NAME ID                       NAME report ID SENT SHA256 RECEIVED SHA256
 *
 * Besides: NAME accepted, NAME received TOTAL, NAME ended, NAME error CODE, NAME closed.
 */
import { createHash, randomBytes, type Hash } from "node:crypto";
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";

interface Talk {
  readonly socket: Socket;
  readonly sentSum: Hash;
  readonly receivedSum: Hash;
  sent: number;
  received: number;
}

const talks = new Map<string, Talk>();
const arrivals = new Map<number, number>();

const say = (...words: readonly (string | number)[]): boolean => process.stdout.write(`${words.join(" ")}\n`);

function watch(name: string, socket: Socket): void {
  const talk = {
    socket,
    sentSum: createHash("sha256"),
    receivedSum: createHash("sha256"),
    sent: 0,
    received: 0,
  };
  talks.set(name, talk);
  socket.on("data", (piece) => {
    talk.received += piece.length;
    talk.receivedSum.update(piece);
    say(name, "received", talk.received);
  });
  socket.on("end", () => say(name, "ended"));
  socket.on("error", (error: NodeJS.ErrnoException) => say(name, "error", String(error.code)));
  socket.on("close", () => say(name, "closed"));
}

function nameOf(peerPort: number): string {
  const count = (arrivals.get(peerPort) ?? 0) + 1;
  arrivals.set(peerPort, count);
  return `${peerPort}.${count}`;
}

function listen(port: string, manner: string): void {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const name = nameOf(socket.remotePort ?? 0);
    watch(name, socket);
    say(name, "accepted");
    if (manner === "reset") socket.resetAndDestroy();
  });
  server.on("error", (error: NodeJS.ErrnoException) => say(port, "error", String(error.code)));
  server.listen({ port: Number(port), host: "::", backlog: 1024 }, () => say(port, "listening"));
}

function open(name: string, host: string, port: string, fromPort: string): void {
  const from = fromPort === "" ? {} : { localPort: Number(fromPort) };
  const socket = connect({ host, port: Number(port), noDelay: true, allowHalfOpen: true, ...from }, () =>
    say(name, "connected", socket.localPort ?? 0),
  );
  watch(name, socket);
}

function send(talk: Talk, bytes: number): void {
  const piece = randomBytes(bytes);
  talk.sent += bytes;
  talk.sentSum.update(piece);
  talk.socket.write(piece);
}

const sumOf = (sum: Hash): string => sum.copy().digest("hex");

function report(name: string, id: string, talk: Talk): void {
  say(name, "report", id, talk.sent, sumOf(talk.sentSum), talk.received, sumOf(talk.receivedSum));
}

const onTalk: Record<string, (talk: Talk, name: string, word: string) => void> = {
  send: (talk, _name, bytes) => send(talk, Number(bytes)),
  end: ({ socket }) => socket.end(),
  reset: ({ socket }) => socket.resetAndDestroy(),
  abandon: ({ socket }) => socket.destroy(),
  report: (talk, name, id) => report(name, id, talk),
};

function command(name: string, words: readonly string[], talk: Talk | undefined): void {
  const act = onTalk[words[0] ?? ""];
  if (talk === undefined || act === undefined) say(name, "error", "UNKNOWN");
  else act(talk, name, words[1] ?? "");
}

function obey([first = "", name = "", ...words]: readonly string[]): void {
  if (first === "listen") listen(name, words[0] ?? "quiet");
  else if (first === "connect") open(name, words[0] ?? "", words[1] ?? "", words[2] ?? "");
  else command(name, [first, ...words], talks.get(name));
}

createInterface({ input: process.stdin }).on("line", (line) => obey(line.split(" ")));
say("ready");
