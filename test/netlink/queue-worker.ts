/** A worker thread that accepts everything in queue 3 of a namespace, until it is terminated. */
import { parentPort, workerData } from "node:worker_threads";
import { closeFd, openNetns } from "../../netlink/netns.ts";
import { Poller } from "../../netlink/poller.ts";
import { createQueuePacket, decodeQueuePacket, VerdictWriter } from "../../netlink/queue.ts";
import { QueueSocket } from "../../netlink/queue-socket.ts";
import { ReceiveBatch } from "../../netlink/receive-batch.ts";

const { netns: path } = workerData as { readonly netns: string };
const netns = openNetns(path);
const socket = QueueSocket.open({ netns, queues: [3] });
closeFd(netns);
const batch = new ReceiveBatch(16, 66_000);
const packet = createQueuePacket();
const verdicts = new VerdictWriter();
const poller = new Poller(() => {
  const received = socket.receive(batch);
  for (let index = 0; index < received; index++) {
    const kind = decodeQueuePacket(batch.view, batch.offset(index), batch.length(index), packet);
    if (kind === "packet") verdicts.accept(packet.queue, packet.id, undefined);
  }
  socket.send(verdicts);
});
poller.add(socket.fd, 1);
parentPort?.postMessage("ready");
