/**
 * Holds every queue of every PU's interface, so that nobody in the pod can send by AF_XDP, which no rule sees and which takes
 * CAP_NET_RAW alone. Source: design, "In the pod's namespace".
 */
import { NetlinkError } from "../../netlink/error.ts";
import { Route } from "../../netlink/route.ts";
import { isNoQueue, isNoXdp, XdpSocket } from "../../netlink/xdp-socket.ts";
import type { HostedPu } from "../control/pu-host.ts";
import type { Log } from "../log.ts";

/** More queues than this are not looked for; the kernel's own limit is of this size. */
const QUEUES_MAXIMUM = 4_096;
/** PUs that are asked in one turn whether their interface has got another queue: each costs 0.2 ms. */
const SLICE = 4;

interface Held {
  readonly netnsFd: number;
  readonly interfaceIndex: number;
  /** By queue number, without gaps unless a queue was taken by others. */
  readonly sockets: Map<number, XdpSocket>;
  /** Why not every queue is held. */
  problem: string | undefined;
}

export class QueueHolder {
  readonly #units = new Map<string, Held>();
  readonly #log: Log;
  #turn: string[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  /** PU → why not all of its interface's queues are held. */
  get problems(): ReadonlyMap<string, string> {
    return new Map(
      [...this.#units].flatMap(([puId, { problem }]) =>
        problem === undefined ? [] : [[puId, problem] as const],
      ),
    );
  }

  /** Takes the queues. The descriptor stays the caller's, and open until `release`. Throws `NetlinkError` only where the interface can't be looked up. */
  hold({ record: { id, ifname }, netnsFd }: HostedPu): void {
    this.release(id);
    const held: Held = {
      netnsFd,
      interfaceIndex: indexOf(ifname, netnsFd),
      sockets: new Map(),
      problem: undefined,
    };
    this.#units.set(id, held);
    this.#extend(id, held);
  }

  release(puId: string): void {
    const held = this.#units.get(puId);
    this.#units.delete(puId);
    for (const socket of held?.sockets.values() ?? []) socket.close();
  }

  /** Takes what could not be taken before, and, for a few PUs in turn, queues that have come since. */
  tick(): void {
    if (this.#turn.length === 0) this.#turn = [...this.#units.keys()];
    for (const puId of new Set([...this.problems.keys(), ...this.#turn.splice(0, SLICE)])) {
      const held = this.#units.get(puId);
      if (held !== undefined) this.#extend(puId, held);
    }
  }

  close(): void {
    for (const puId of [...this.#units.keys()]) this.release(puId);
  }

  #extend(puId: string, held: Held): void {
    const before = held.problem;
    held.problem = takeQueues(held);
    if (held.problem !== undefined && held.problem !== before)
      this.#log.warn("AF_XDP is not held back", { pu: puId, problem: held.problem });
  }
}

/** 0, which is no interface, where there is none of that name. */
function indexOf(interfaceName: string, netnsFd: number): number {
  const route = Route.open({ netns: netnsFd });
  try {
    return route.links().find(({ name }) => name === interfaceName)?.index ?? 0;
  } finally {
    route.close();
  }
}

/** Takes those that aren't held yet; gives what went wrong with the last one that others have. */
function takeQueues({ netnsFd, interfaceIndex, sockets }: Held): string | undefined {
  let problem: string | undefined;
  for (let queue = 0; queue < QUEUES_MAXIMUM; queue += 1) {
    if (sockets.has(queue)) continue;
    try {
      sockets.set(queue, XdpSocket.open({ netns: netnsFd, interfaceIndex, queue }));
    } catch (error) {
      if (isNoQueue(error) || isNoXdp(error)) return problem;
      problem = String(error);
      if (!(error instanceof NetlinkError) || error.code !== "EBUSY") return problem;
    }
  }
  return problem;
}
