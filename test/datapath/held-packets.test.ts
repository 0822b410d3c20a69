import { describe, expect, test } from "vitest";
import { HeldPackets, type HeldPacket } from "../../enforcer/datapath/held-packets.ts";
import type { NamespaceSocket } from "../../enforcer/datapath/namespace-socket.ts";
import type { PuDatapath } from "../../enforcer/datapath/pu-datapath.ts";

const limits = { perQueue: 2, total: 3, holdMs: 200 };

/** The list looks at nothing of a socket but its token, and at nothing of a unit but which one it is. */
const one = { id: 1 } as unknown as PuDatapath;
const two = { id: 2 } as unknown as PuDatapath;

function held(token: number, packetId: number, queue: HeldPacket["queue"] = 0): HeldPacket {
  const socket = { token } as unknown as NamespaceSocket;
  const unit = token === 2 ? two : one;
  return { socket, unit, queue, packetId, mark: 0, packet: new Uint8Array(0), receivedMs: 100 };
}

const ids = (packets: readonly HeldPacket[]): number[] => packets.map(({ packetId }) => packetId);

describe("held packets", () => {
  test("a queue keeps as many as it may, and leaves room for other queues", () => {
    const packets = new HeldPackets(limits);
    expect([packets.add(held(1, 1)), packets.add(held(1, 2)), packets.add(held(1, 3))]).toEqual([
      true,
      true,
      false,
    ]);
    expect(packets.add(held(1, 4, 1))).toBe(true);
    expect(ids(packets.takeAll())).toEqual([1, 2, 4]);
  });

  test("all queues together keep as many as they may", () => {
    const packets = new HeldPackets(limits);
    expect([1, 2, 3, 4].map((token) => packets.add(held(token, token)))).toEqual([true, true, true, false]);
  });

  test("what was taken makes room", () => {
    const packets = new HeldPackets(limits);
    packets.add(held(1, 1));
    packets.add(held(1, 2));
    packets.takeAll();
    expect(packets.size).toBe(0);
    expect(packets.add(held(1, 3))).toBe(true);
  });

  test("takes out what waits for one unit, and leaves the rest in order", () => {
    const packets = new HeldPackets(limits);
    for (const [token, id] of [
      [1, 1],
      [2, 2],
      [1, 3],
    ] as const)
      packets.add(held(token, id));
    expect(ids(packets.take(two))).toEqual([2]);
    expect(ids(packets.takeAll())).toEqual([1, 3]);
  });

  test("expires after its time, not before", () => {
    const packets = new HeldPackets(limits);
    expect([packets.isExpired(held(1, 1), 300), packets.isExpired(held(1, 1), 301)]).toEqual([false, true]);
  });
});
