/** Small windows: what goes out with them raised, what the other stack gets, and what a router's conntrack makes of it. Source: PROTOCOL.md, "Windows". */
import { describe, expect, test } from "vitest";
import { ConntrackEntry } from "./conntrack-model.ts";
import { Dialogue, lastDelivered } from "./dialogue.ts";
import { alter, readSegment } from "./segments.ts";

/** Windows that both ends advertise in SYN and SYN-ACK. */
interface Windows {
  readonly client: number;
  readonly server: number;
}

/** Opens a connection through a router and sends one segment each way; `onWire` may change what crosses it. */
function openThrough(
  entry: ConntrackEntry,
  d: Dialogue,
  windows: Windows,
  onWire = (packet: Buffer): Buffer => packet,
): void {
  const route = (packets: readonly Buffer[], to: { receive: (packet: Buffer) => void }): void => {
    for (const packet of packets.map(onWire)) if (entry.pass(packet)) to.receive(packet);
  };
  const clientSends = (packet: Buffer): void => {
    const before = d.client.sent.length;
    d.client.send(packet);
    route(d.client.sent.slice(before), d.server);
  };
  const serverSends = (packet: Buffer): void => {
    const before = d.server.sent.length;
    d.server.send(packet);
    route(d.server.sent.slice(before), d.client);
  };
  clientSends(d.syn({ window: windows.client }));
  serverSends(d.synAck({ window: windows.server }));
  // Scaled by 7: 512 and 1,024 bytes.
  clientSends(d.ack({ window: windows.client >> 7 }));
  serverSends(
    d.serverSegment({ data: Buffer.alloc(Math.min(500, windows.client)), window: windows.server >> 7 }),
  );
  clientSends(d.data("x".repeat(100), { window: windows.client >> 7 }));
}

const sizes = [536, 1000, 1220, 1459, 1460, 64_240];
const pairs = sizes.flatMap((client) => sizes.map((server) => ({ client, server })));
const big = { mode: "pki", clientLabels: 20, serverLabels: 20 } as const;

describe.each(["before 6.1", "since 6.1"] as const)("a router with a kernel %s", (kernel) => {
  test.each([4, 6] as const)("sees nothing invalid and an established connection, over IPv%d", (version) => {
    for (const windows of pairs) {
      const entry = new ConntrackEntry(kernel);
      const d = new Dialogue({ ...big, version });
      openThrough(entry, d, windows);
      expect({ ...windows, state: entry.state, opinions: new Set(entry.opinions) }).toEqual({
        ...windows,
        state: "established",
        opinions: new Set(["valid"]),
      });
      expect(d.server.lastCrossing).toMatchObject({ verdict: "accept" });
    }
  });

  test("would not, with the true windows on the wire", () => {
    const entry = new ConntrackEntry(kernel);
    const lower = (packet: Buffer): Buffer =>
      alter(packet, ({ window }) => ({ window: window === 1460 ? 536 : window }));
    openThrough(entry, new Dialogue(big), { client: 536, server: 536 }, lower);
    expect(entry.state).toBe("syn-received");
    expect(entry.opinions).toContain(kernel === "since 6.1" ? "ignored" : "invalid");
  });
});

describe("a window", () => {
  test.each([
    { mtu: 1500, window: 0, onWire: 1460 },
    { mtu: 1500, window: 536, onWire: 1460 },
    { mtu: 1500, window: 1459, onWire: 1460 },
    { mtu: 1500, window: 1460, onWire: 1460 },
    { mtu: 1500, window: 1461, onWire: 1461 },
    { mtu: 1500, window: 65_535, onWire: 65_535 },
    { mtu: 1280, window: 536, onWire: 1460 },
    { mtu: 9000, window: 536, onWire: 8960 },
    { mtu: 65_535, window: 536, onWire: 65_495 },
  ])("of $window at an MTU of $mtu goes out as $onWire and arrives as it was", ({ mtu, window, onWire }) => {
    const d = new Dialogue({ mtu });
    d.client.send(d.syn({ window }));
    const wireSyn = d.client.sent.at(-1) ?? Buffer.alloc(0);
    expect(readSegment(wireSyn).window).toBe(onWire);
    d.server.receive(wireSyn);
    expect(lastDelivered(d.server)).toEqual(readSegment(d.syn({ window })));
    d.server.send(d.synAck({ window }));
    const wireSynAck = d.server.sent.at(-1) ?? Buffer.alloc(0);
    expect(readSegment(wireSynAck).window).toBe(onWire);
    d.client.receive(wireSynAck);
    expect(lastDelivered(d.client)).toEqual(readSegment(d.synAck({ window })));
  });

  test("is never raised towards peers without identity", () => {
    const d = new Dialogue();
    d.client.send(d.syn({ to: "203.0.113.5", toPort: 443, window: 536 }));
    expect(readSegment(d.client.sent[0] ?? Buffer.alloc(0)).window).toBe(536);
  });

  test("lowered on the way is restored all the same, and a true one that was altered is refused", () => {
    const d = new Dialogue();
    d.client.send(d.syn({ window: 4096 }));
    d.server.receive(alter(d.client.sent[0] ?? Buffer.alloc(0), () => ({ window: 1 })));
    expect(lastDelivered(d.server)?.window).toBe(4096);
    d.server.send(d.synAck({ window: 4096 }));
    const forged = alter(d.server.sent.at(-1) ?? Buffer.alloc(0), ({ data }) => {
      data.writeUInt16BE(60_000, 13);
      return { data };
    });
    d.client.receive(forged);
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
  });
});
