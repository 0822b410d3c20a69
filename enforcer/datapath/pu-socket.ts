/** One queue socket of a processing unit, and which of its queues it serves. */
import { QueueSocket } from "../../netlink/queue-socket.ts";
import type { PuDatapath } from "./pu-datapath.ts";

/**
 * The sockets of a PU, in the order in which they are served. A flood of SYNs fills only its own socket, and waits until
 * everybody else has been served.
 */
export const socketGroups = [
  { name: "rest", queues: [2, 3, 4, 5, 6] },
  { name: "syn-ack", queues: [1] },
  { name: "syn", queues: [0] },
] as const;

export type SocketGroup = (typeof socketGroups)[number];

export class PuSocket {
  readonly unit: PuDatapath;
  readonly group: SocketGroup;
  /** What the poller calls it. */
  readonly token: number;
  readonly netlink: QueueSocket;
  closed = false;

  constructor(unit: PuDatapath, group: SocketGroup, token: number, netnsFd: number, queueLength: number) {
    this.unit = unit;
    this.group = group;
    this.token = token;
    this.netlink = QueueSocket.open({ netns: netnsFd, queues: group.queues, maxLength: queueLength });
  }

  close(): void {
    this.closed = true;
    this.netlink.close();
  }
}
