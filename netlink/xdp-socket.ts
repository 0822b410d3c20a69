/** Takes an interface's queue for AF_XDP, and does nothing with it: one queue has one such socket. Source: kernel, networking/af_xdp. */
import { addon } from "./addon.ts";
import { EAFNOSUPPORT, EINVAL } from "./errno.ts";
import { checked, NetlinkError } from "./error.ts";

export interface XdpOptions {
  /** Descriptor of the namespace; the calling thread's own if absent. */
  readonly netns?: number | undefined;
  readonly interfaceIndex: number;
  /** From 0. */
  readonly queue: number;
}

/**
 * A socket bound to one queue, in copy mode and for sending only, without a packet: while it is open every other bind to that
 * queue gets EBUSY. It takes nothing from the interface's traffic. A rename leaves it bound; it takes a page of memory and its rings.
 */
export class XdpSocket {
  readonly fd: number;

  /** Throws NetlinkError: EBUSY another socket has the queue, EINVAL there is no such queue, EAFNOSUPPORT no AF_XDP in this kernel. */
  static open({ netns, interfaceIndex, queue }: XdpOptions): XdpSocket {
    const opened = addon().openXdp(netns ?? -1, interfaceIndex, queue);
    return new XdpSocket(checked(`take queue ${queue} of interface ${interfaceIndex} for AF_XDP`, opened));
  }

  private constructor(fd: number) {
    this.fd = fd;
  }

  /** Waits some milliseconds, until nobody uses the queue's pool; the kernel gives the queue back a moment later still. */
  close(): void {
    addon().closeFd(this.fd);
  }
}

/** Whether an error of `open` says that the interface has no further queue. */
export function isNoQueue(error: unknown): boolean {
  return error instanceof NetlinkError && error.errno === EINVAL;
}

/** Whether an error of `open` says that the kernel has no AF_XDP: then nobody can use it. */
export function isNoXdp(error: unknown): boolean {
  return error instanceof NetlinkError && error.errno === EAFNOSUPPORT;
}
