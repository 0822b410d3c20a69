/** The engine's tables: bounded, by age, and right about who shares a 4-tuple. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AnsweredRing, AnsweredRoom } from "../../enforcer/handshake/answered-ring.ts";
import { emptyFlowKey, flowAddresses, loadFlowKey } from "../../enforcer/handshake/flow-key.ts";
import type { FlowKey } from "../../enforcer/handshake/flow-key.ts";
import { FlowTable } from "../../enforcer/handshake/flow-table.ts";
import type { FlowEntry } from "../../enforcer/handshake/flow-table.ts";
import { noSlot, PackedTable } from "../../enforcer/handshake/packed-table.ts";
import { RecentFlows } from "../../enforcer/handshake/recent-flows.ts";
import { ResetBudget } from "../../enforcer/handshake/reset-budget.ts";
import { TokenLog } from "../../enforcer/handshake/token-log.ts";
import type { OwnToken } from "../../enforcer/identity/identity.ts";
import { Packet } from "../../enforcer/packet/packet.ts";
import { parsePacket } from "../../enforcer/packet/parse.ts";
import { address, Domain, startWallMs, TestNode } from "./fixtures.ts";
import { buildSegment } from "./segments.ts";

/** Many keys, few hashes: so that buckets are shared. */
function key(port: number): FlowKey {
  return { ...emptyFlowKey(), ports: port, hash: port % 3 };
}

describe("a flow key", () => {
  test.each([
    { from: "10.1.0.10", to: "10.1.0.20" },
    { from: "fd00:1::10", to: "fd00:1::20" },
  ])("is the same seen from either direction of $from, and says what it was made of", ({ from, to }) => {
    const load = (
      ends: { from: string; fromPort: number; to: string; toPort: number },
      isInbound: boolean,
    ) => {
      const bytes = buildSegment(ends);
      const packet = new Packet();
      expect(parsePacket(bytes, 0, bytes.length, packet)).toBeUndefined();
      return loadFlowKey(emptyFlowKey(), packet, isInbound, 7);
    };
    const out = load({ from, fromPort: 40_000, to, toPort: 80 }, false);
    expect(load({ from: to, fromPort: 80, to: from, toPort: 40_000 }, true)).toEqual(out);
    expect(load({ from, fromPort: 40_000, to, toPort: 80 }, true)).not.toEqual(out);
    const local = { local: address(from), localPort: 40_000 };
    expect(flowAddresses(out)).toEqual({ ...local, remote: address(to), remotePort: 80 });
  });
});

interface Entry extends FlowEntry {
  nextInBucket: this | undefined;
  older: this | undefined;
  newer: this | undefined;
}

test("a flow table does what a list does", () => {
  const action = fc.record({ kind: fc.constantFrom("add", "remove", "touch"), port: fc.nat({ max: 12 }) });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const table = new FlowTable<Entry>(100);
      let list: Entry[] = [];
      for (const [nowMs, { kind, port }] of actions.entries()) {
        const newest = list.filter((entry) => entry.key.ports === port).at(-1);
        if (kind === "add") {
          const links = { nextInBucket: undefined, older: undefined, newer: undefined };
          const entry: Entry = { key: key(port), lastMs: nowMs, ...links };
          table.add(entry);
          list = [...list, entry];
        } else if (kind === "remove" && newest !== undefined) {
          table.remove(newest);
          list = list.filter((entry) => entry !== newest);
        } else if (newest !== undefined) table.touch(newest, nowMs);
        for (let each = 0; each <= 12; each++) {
          const found: Entry[] = [];
          for (let entry = table.find(key(each)); entry; entry = table.findNext(entry)) found.push(entry);
          expect(new Set(found)).toEqual(new Set(list.filter((entry) => entry.key.ports === each)));
        }
        const oldest = Math.min(...list.map(({ lastMs }) => lastMs));
        expect(table.oldest()?.lastMs ?? Infinity).toBe(oldest);
        expect(table.size).toBe(list.length);
      }
    }),
    { numRuns: 100 },
  );
});

test("a packed table does what a list does, however it grows and shrinks", () => {
  const kind = fc.constantFrom("add", "add", "remove", "touch", "drain", "compact");
  const action = fc.record({ kind, port: fc.nat({ max: 200 }) });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 300 }), (actions) => {
      const table = new PackedTable(1);
      const list = new Map<number, number>();
      for (const [nowMs, { kind, port }] of actions.entries()) {
        const slot = table.find(key(port));
        expect(slot !== noSlot).toBe(list.has(port));
        if (kind === "add" && slot === noSlot) table.set(table.add(key(port), nowMs), 0, port);
        else if (kind === "remove" && slot !== noSlot) table.remove(slot);
        else if (kind === "touch" && slot !== noSlot) table.touch(slot, nowMs);
        else if (kind === "compact") table.compact();
        if (kind === "remove" || kind === "touch") list.delete(port);
        if ((kind === "touch" && slot !== noSlot) || (kind === "add" && slot === noSlot))
          list.set(port, nowMs);
        while (kind === "drain" && table.size > 1) {
          list.delete(table.get(table.oldest(), 0));
          table.remove(table.oldest());
        }
        const [first] = list;
        if (first === undefined) expect(table.oldest()).toBe(noSlot);
        else expect([table.get(table.oldest(), 0), table.lastMs(table.oldest())]).toEqual(first);
        expect(table.size).toBe(list.size);
      }
      for (const [port, lastMs] of list) expect(table.lastMs(table.find(key(port)))).toBe(lastMs);
    }),
  );
});

describe("the ring of answered connections", () => {
  const entry = (number: number) => ({
    clientIsn: 0xffff_ffff - number,
    serverIsn: number,
    lastMs: number + 0.5,
    tokenId: number,
    window: number,
    nonce: new Uint8Array(16).fill(number),
    tagS: new Uint8Array(16).fill(number + 1),
    tagC: new Uint8Array(16).fill(number + 2),
  });

  test("keeps the newest, whole, and forgets the oldest", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 8 }),
        fc.array(fc.nat({ max: 20 }), { maxLength: 60 }),
        (size, ports) => {
          const ring = new AnsweredRing(size, new AnsweredRoom(1_000));
          let slots: number[] = [];
          for (const port of ports) {
            ring.add(key(port), entry(port));
            slots = size === 0 ? [] : [...slots.filter((each) => each !== port), port].slice(-size);
            const isKnown = (each: number): boolean => slots.includes(each);
            for (let each = 0; each <= 20; each++) {
              const found = ring.find(key(each));
              if (isKnown(each)) expect(found).toEqual(entry(each));
              else expect(found).toBeUndefined();
            }
          }
        },
      ),
    );
  });

  test("finds none that was removed, and renews what is touched", () => {
    const ring = new AnsweredRing(4, new AnsweredRoom(1_000));
    for (const port of [1, 4, 7]) ring.add(key(port), entry(port));
    ring.remove(key(4));
    ring.touch(key(7), 99);
    expect([1, 4, 7].map((port) => ring.find(key(port))?.lastMs)).toEqual([1.5, undefined, 99]);
    ring.expire(80, 75);
    expect([1, 7].map((port) => ring.find(key(port))?.lastMs)).toEqual([undefined, 99]);
  });

  test("takes the room that all share from whichever has most of it", () => {
    const room = new AnsweredRoom(10);
    const [quiet, flooded, later] = [0, 1, 2].map(() => new AnsweredRing(100, room));
    for (let port = 0; port < 3; port++) quiet?.add(key(port), entry(port));
    for (let port = 0; port < 200; port++) flooded?.add(key(port), entry(port));
    expect([quiet?.size, flooded?.size]).toEqual([3, 7]);
    for (let port = 0; port < 3; port++) later?.add(key(port), entry(port));
    expect([quiet?.size, flooded?.size, later?.size]).toEqual([3, 4, 3]);
    expect(flooded?.find(key(199))).toEqual(entry(199));
    flooded?.close();
    for (let port = 0; port < 5; port++) later?.add(key(port), entry(port));
    expect([quiet?.size, later?.size]).toEqual([3, 5]);
  });
});

test("flows authorised lately are recognised until they are silent, forgotten or too many", () => {
  const recent = new RecentFlows(2, 1000);
  recent.remember(key(1), 0);
  expect(recent.recognise(key(1), 900)).toBe(true);
  expect(recent.recognise(key(1), 1900)).toBe(true);
  expect(recent.recognise(key(1), 2901)).toBe(false);
  recent.remember(key(2), 3000);
  recent.remember(key(3), 3001);
  recent.remember(key(4), 3002);
  expect([2, 3, 4].map((port) => recent.recognise(key(port), 3003))).toEqual([false, true, true]);
  recent.forget(key(3));
  expect(recent.recognise(key(3), 3004)).toBe(false);
  recent.expire(9000);
  expect(recent.size).toBe(0);
});

test("the reset budget holds one second's worth", () => {
  const budget = new ResetBudget(10);
  const take = (nowMs: number): number =>
    Array.from({ length: 50 }, () => budget.take(nowMs)).filter(Boolean).length;
  expect([take(0), take(100), take(100), take(5000)]).toEqual([10, 1, 0, 10]);
});

test("the token log knows the latest eight", () => {
  const unit = new TestNode(new Domain("psk"), "node-a").unit("a", {});
  const tokens: OwnToken[] = [];
  const log = new TokenLog();
  for (let count = 0; count < 10; count++) {
    unit.renew(startWallMs + count * 1000);
    const token = unit.token();
    if (token !== undefined) tokens.push(token);
  }
  const ids = tokens.map((token) => log.idOf(token));
  expect(ids).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(ids.map((id) => log.find(id) !== undefined)).toEqual([
    ...Array<boolean>(2).fill(false),
    ...Array<boolean>(8).fill(true),
  ]);
  expect(log.idOf(tokens[5] as OwnToken)).toBe(5);
});
