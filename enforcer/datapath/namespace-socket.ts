/** One queue socket in a pod's namespace, and which of its queues it serves. */
import { QueueSocket } from "../../netlink/queue-socket.ts";
import type { PodNamespace } from "./pod-namespace.ts";

/**
 * The sockets of a namespace, in the order in which they are served. A flood of SYNs fills only its own socket, and waits
 * until everybody else has been served.
 */
export const socketGroups = [
  { name: "rest", queues: [2, 3, 4, 5, 6] },
  { name: "syn-ack", queues: [1] },
  { name: "syn", queues: [0] },
] as const;

export type SocketGroup = (typeof socketGroups)[number];

export class NamespaceSocket {
  readonly namespace: PodNamespace;
  readonly group: SocketGroup;
  /** What the poller calls it. */
  readonly token: number;
  readonly netlink: QueueSocket;

  constructor(namespace: PodNamespace, group: SocketGroup, token: number, queueLength: number) {
    this.namespace = namespace;
    this.group = group;
    this.token = token;
    this.netlink = QueueSocket.open({
      netns: namespace.netnsFd,
      queues: group.queues,
      maxLength: queueLength,
    });
  }

  close(): void {
    this.netlink.close();
  }
}
