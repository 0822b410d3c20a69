/** A socket that tells that something in a namespace has changed, not what: read the state again. Source: netlink(7). */
import { addon } from "./addon.ts";
import { checked } from "./error.ts";
import { ReceiveBatch } from "./receive-batch.ts";
import { NETLINK_NETFILTER, NETLINK_ROUTE, openNetlinkFd } from "./socket.ts";

const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;

/** Multicast groups: RTNLGRP_LINK and RTNLGRP_IPV6_IFADDR of linux/rtnetlink.h, NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h. */
const topics = {
  links: { protocol: NETLINK_ROUTE, group: 1 },
  addresses6: { protocol: NETLINK_ROUTE, group: 9 },
  nftables: { protocol: NETLINK_NETFILTER, group: 7 },
} as const;

export type MonitorTopic = keyof typeof topics;

/**
 * NLMSG_NOOP, in host byte order (little endian): asks for nothing. Sending gives a socket its port, and one without a port gets no
 * notifications: the kernel takes it for the sender.
 */
const noop = Uint8Array.of(16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

/** Of the notifications themselves nothing is kept, so that one buffer, and a short one, serves all sockets of a thread. */
const discarded = new ReceiveBatch(16, 256);

export class MonitorSocket {
  readonly fd: number;

  /** `netns`: descriptor of the namespace; the calling thread's own if absent. Throws NetlinkError. */
  static open(topic: MonitorTopic, netns?: number): MonitorSocket {
    const { protocol, group } = topics[topic];
    const fd = openNetlinkFd(protocol, netns);
    addon().send(fd, noop, 0, noop.length);
    const joined = addon().setOption(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
    if (joined < 0) addon().closeFd(fd);
    checked(`watch ${topic}`, joined);
    return new MonitorSocket(fd);
  }

  private constructor(fd: number) {
    this.fd = fd;
  }

  /** Takes notifications that are there, without waiting. What overflowed the socket counts as one, too. */
  drain(): void {
    try {
      while (discarded.receive(this.fd) > 0);
    } catch {
      // ENOBUFS: some were lost, which says no less than one that arrived.
    }
  }

  close(): void {
    addon().closeFd(this.fd);
  }
}
