/** Sends whole IP packets, headers included, from inside a namespace. Source: raw(7), ipv6(7). */
import { addon } from "./addon.ts";
import { checked } from "./error.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;
const SOL_SOCKET = 1;
const SO_MARK = 36;
const SOL_IPV6 = 41;
const IPV6_HDRINCL = 36;

export interface RawOptions {
  readonly version: 4 | 6;
  /** Descriptor of the namespace; the calling thread's own if absent. */
  readonly netns?: number | undefined;
  /** Packet mark of what is sent; 0 if absent. */
  readonly mark?: number;
}

export class RawSocket {
  readonly fd: number;
  readonly #destinationOffset: number;
  readonly #destinationEnd: number;
  readonly #range = new Uint32Array(2);
  #mark = 0;

  static open(options: RawOptions): RawSocket {
    const native = addon();
    const domain = options.version === 4 ? AF_INET : AF_INET6;
    const opened = native.openSocket(options.netns ?? -1, domain, SOCK_RAW, IPPROTO_RAW);
    const socket = new RawSocket(checked(`open a raw IPv${options.version} socket`, opened), options.version);
    try {
      if (options.version === 6)
        checked("set IPV6_HDRINCL", native.setOption(socket.fd, SOL_IPV6, IPV6_HDRINCL, 1));
      socket.setMark(options.mark ?? 0);
      return socket;
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  private constructor(fd: number, version: 4 | 6) {
    this.fd = fd;
    this.#destinationOffset = version === 4 ? 16 : 24;
    this.#destinationEnd = version === 4 ? 20 : 40;
  }

  /** SO_MARK for everything sent from now on. */
  setMark(mark: number): void {
    if (mark === this.#mark) return;
    checked("set SO_MARK", addon().setOption(this.fd, SOL_SOCKET, SO_MARK, mark | 0));
    this.#mark = mark;
  }

  /**
   * Sends one whole IP packet to the destination in its header, without waiting. `scope`: interface index for a
   * link-local destination. Returns 0, or the positive errno (EPERM: a rule dropped it).
   */
  send(packet: Uint8Array, scope = 0): number {
    if (packet.length < this.#destinationEnd) throw new RangeError("shorter than an IP header");
    this.#range[1] = packet.length;
    const destination = packet.subarray(this.#destinationOffset, this.#destinationEnd);
    const result = addon().sendBatch(this.fd, packet, this.#range, destination, scope);
    return result < 0 ? -result : 0;
  }

  close(): void {
    addon().closeFd(this.fd);
  }
}
