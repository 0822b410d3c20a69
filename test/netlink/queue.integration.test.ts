/** Real queues in real namespaces: what the kernel hands over, and what it does with our verdicts. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, expect, test } from "vitest";
import { action, match, rule } from "../../netlink/nftables/builder.ts";
import type { Chain, Table } from "../../netlink/nftables/model.ts";
import { Nftables } from "../../netlink/nftables/nftables.ts";
import { Poller } from "../../netlink/poller.ts";
import { createQueuePacket, decodeQueuePacket, VerdictWriter } from "../../netlink/queue.ts";
import { QueueSocket, queueStatistics } from "../../netlink/queue-socket.ts";
import { ReceiveBatch } from "../../netlink/receive-batch.ts";
import { output, TestNamespace } from "./namespaces.ts";

let namespace: TestNamespace;
beforeEach(() => {
  namespace = new TestNamespace();
});
afterEach(async () => {
  await namespace.remove();
});

const UDP = 17;
const batch = new ReceiveBatch(16, 66_000);
const verdicts = new VerdictWriter();
const packet = createQueuePacket();

function outputChain(...rules: Chain["rules"]): Chain {
  return { name: "out", hook: { type: "filter", hook: "output", priority: 0, policy: "accept" }, rules };
}

/** UDP that leaves goes to queue 3; behind it, packets with mark 0x77 are counted. */
const table: Table = {
  family: "inet",
  name: "queue",
  chains: [
    outputChain(rule(match.protocol(UDP), action.queue(3))),
    {
      name: "counted",
      hook: { type: "filter", hook: "postrouting", priority: 0, policy: "accept" },
      rules: [rule(match.mark(0xffffffff, 0x77), action.counter())],
    },
  ],
};

function install(): Nftables {
  const nftables = Nftables.open({ netns: namespace.fd });
  nftables.replace([table]);
  return nftables;
}

function countedPackets(nftables: Nftables): bigint {
  const expressions = nftables.read("inet", "queue")?.chains.find(({ name }) => name === "counted")
    ?.rules[0]?.expressions;
  const counter = expressions?.find(({ kind }) => kind === "counter");
  return counter?.kind === "counter" ? (counter.packets ?? 0n) : -1n;
}

/** Listens on 127.0.0.1 and ::1, then sends `bytes` to itself for each line on stdin; prints what arrives. */
const selfSender = (bytes: number): string => `
import dgram from "node:dgram";
const socket = dgram.createSocket({ type: "udp6" });
socket.on("message", (data) => console.log(data.length + " " + data.subarray(0, 8).toString()));
socket.on("error", (error) => console.log(error.message));
socket.bind(0, "::", () => console.log("ready"));
process.stdin.on("data", (lines) => {
  for (const target of lines.toString().trim().split("\\n")) socket.send(Buffer.alloc(${bytes}, "a"), socket.address().port, target);
});`;

/** Waits until something is there and hands it to `onPacket`, by way of a Poller. */
async function readOnce(socket: QueueSocket, onPacket: (view: DataView) => void): Promise<void> {
  await new Promise<void>((resolve) => {
    const poller = new Poller((tokens, count) => {
      expect([count, tokens[0]]).toEqual([1, 42]);
      const received = socket.receive(batch);
      for (let index = 0; index < received; index++) {
        const kind = decodeQueuePacket(batch.view, batch.offset(index), batch.length(index), packet);
        expect(kind).toBe("packet");
        onPacket(batch.view);
      }
      poller.close();
      resolve();
    });
    poller.add(socket.fd, 42);
  });
}

for (const [family, target, ethertype] of [
  ["IPv4", "::ffff:127.0.0.1", 0x0800],
  ["IPv6", "::1", 0x86dd],
] as const) {
  test(`a verdict changes payload and mark, ${family}`, async () => {
    const nftables = install();
    const socket = QueueSocket.open({ netns: namespace.fd, queues: [3] });
    const child = namespace.node(selfSender(20));
    expect(await output(child)).toBe("ready");
    child.stdin?.write(`${target}\n`);
    await readOnce(socket, (view) => {
      expect(packet).toMatchObject({
        queue: 3,
        hook: 3,
        protocol: ethertype,
        mark: 0,
        inDevice: 0,
        outDevice: 1,
      });
      expect(packet.payloadLength).toBe((family === "IPv4" ? 20 : 40) + 8 + 20);
      expect(packet.fullLength).toBe(packet.payloadLength);
      const changed = new Uint8Array(view.buffer, packet.payloadOffset, packet.payloadLength).slice();
      // Two bytes change places with two others that are as far from even offsets: the checksum stays right.
      changed.set(Buffer.from("b"), changed.length - 20);
      changed.set(Buffer.from("`"), changed.length - 18);
      verdicts.accept(packet.queue, packet.id, 0x77, changed);
      socket.send(verdicts);
    });
    expect(await output(child)).toBe("20 ba`aaaaa");
    expect(countedPackets(nftables)).toBe(1n);
    socket.close();
    nftables.close();
  });
}

test("64 KiB packets come whole, and can be sent back whole", async () => {
  const nftables = install();
  const socket = QueueSocket.open({ netns: namespace.fd, queues: [3] });
  const child = namespace.node(selfSender(65_500));
  expect(await output(child)).toBe("ready");
  child.stdin?.write("::ffff:127.0.0.1\n");
  await readOnce(socket, (view) => {
    expect(packet.payloadLength).toBe(65_528);
    const payload = new Uint8Array(view.buffer, packet.payloadOffset, packet.payloadLength);
    verdicts.accept(packet.queue, packet.id, 0x77, payload);
    socket.send(verdicts);
  });
  expect(await output(child)).toBe("65500 aaaaaaaa");
  socket.close();
  nftables.close();
});

test("what is longer than the copy range tells its own length; what is longer than the slot is truncated", async () => {
  const nftables = install();
  const socket = QueueSocket.open({ netns: namespace.fd, queues: [3], copyBytes: 100 });
  const child = namespace.node(selfSender(1000));
  expect(await output(child)).toBe("ready");
  child.stdin?.write("::ffff:127.0.0.1\n");
  await readOnce(socket, () => {
    expect([packet.payloadLength, packet.fullLength]).toEqual([100, 1028]);
    verdicts.accept(packet.queue, packet.id, undefined);
    socket.send(verdicts);
  });
  child.stdin?.write("::ffff:127.0.0.1\n");
  const small = new ReceiveBatch(1, 64);
  while (small.receive(socket.fd) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  expect([small.truncated(0), small.length(0)]).toEqual([true, 64]);
  expect(decodeQueuePacket(small.view, 0, small.length(0), packet)).toBe("malformed");
  socket.close();
  nftables.close();
});

test("a batch verdict serves all packets up to an id, and several verdicts go in one send", async () => {
  const nftables = install();
  const socket = QueueSocket.open({ netns: namespace.fd, queues: [3] });
  const child = namespace.node(selfSender(7));
  expect(await output(child)).toBe("ready");
  child.stdin?.write("::ffff:127.0.0.1\n".repeat(6));
  const ids: number[] = [];
  while (ids.length < 6) await readOnce(socket, () => ids.push(packet.id));
  verdicts.drop(3, ids[0] ?? 0);
  verdicts.acceptUpTo(3, ids[3] ?? 0, 0x77);
  verdicts.accept(3, ids[4] ?? 0, 0x77);
  verdicts.dropUpTo(3, ids[5] ?? 0);
  expect(verdicts.count).toBe(4);
  socket.send(verdicts);
  expect(countedPackets(nftables)).toBe(4n);
  expect(queueStatistics(namespace.fd)).toMatchObject([
    { queue: 3, waiting: 0, dropped: 0, droppedByReader: 0 },
  ]);
  socket.close();
  nftables.close();
});

test("a full queue drops, and its counter tells", async () => {
  const nftables = install();
  const socket = QueueSocket.open({ netns: namespace.fd, queues: [3], maxLength: 2 });
  const child = namespace.node(selfSender(7));
  expect(await output(child)).toBe("ready");
  child.stdin?.write("::ffff:127.0.0.1\n".repeat(10));
  await expect
    .poll(() => queueStatistics(namespace.fd))
    .toMatchObject([{ queue: 3, waiting: 2, dropped: 8, droppedByReader: 0 }]);
  socket.close();
  expect(queueStatistics(namespace.fd)).toEqual([]);
  nftables.close();
});

test("a verdict for a packet that isn't there comes back as an error", () => {
  const socket = QueueSocket.open({ netns: namespace.fd, queues: [3] });
  verdicts.accept(3, 12_345, undefined);
  socket.send(verdicts);
  expect(socket.receive(batch)).toBe(1);
  expect(decodeQueuePacket(batch.view, batch.offset(0), batch.length(0), packet)).toBe("error");
  expect(packet.errno).toBe(2);
  socket.close();
});

test("a queue that another socket has is refused", () => {
  const socket = QueueSocket.open({ netns: namespace.fd, queues: [3, 4] });
  expect(() => QueueSocket.open({ netns: namespace.fd, queues: [5, 4] })).toThrow(
    /bind queue 4: (EBUSY|EPERM)/,
  );
  socket.close();
  QueueSocket.open({ netns: namespace.fd, queues: [5, 4] }).close();
});

test("a worker reads a queue of the namespace, and the process can exit while it does", async () => {
  const nftables = install();
  const child = namespace.node(selfSender(7));
  expect(await output(child)).toBe("ready");
  const worker = new Worker(new URL("queue-worker.ts", import.meta.url), {
    workerData: { netns: namespace.path },
  });
  expect(await once(worker, "message")).toEqual(["ready"]);
  child.stdin?.write("::ffff:127.0.0.1\n");
  expect(await output(child)).toBe("7 aaaaaaa");
  expect(await worker.terminate()).toBe(1);
  expect(queueStatistics(namespace.fd)).toEqual([]);
  nftables.close();
});
