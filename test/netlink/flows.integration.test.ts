/** Two namespaces joined by a veth pair: connection tracking, routes and links, raw sockets. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { Conntrack, type FlowTuple } from "../../netlink/conntrack.ts";
import { action, match, rule } from "../../netlink/nftables/builder.ts";
import type { Table } from "../../netlink/nftables/model.ts";
import { Nftables } from "../../netlink/nftables/nftables.ts";
import { formatPrefix, parseAddress } from "../../netlink/prefix.ts";
import { RawSocket } from "../../netlink/raw-socket.ts";
import { onLinkPrefixes, Route } from "../../netlink/route.ts";
import { join, output, TestNamespace } from "./namespaces.ts";

let a: TestNamespace;
let b: TestNamespace;
beforeEach(() => {
  a = new TestNamespace();
  b = new TestNamespace();
  join(a, b);
});
afterEach(async () => {
  await a.remove();
  await b.remove();
});

const bytes = (text: string): Uint8Array => parseAddress(text) ?? new Uint8Array(0);

/** Any `ct` expression makes a namespace track its connections. */
const tracking: Table = {
  family: "inet",
  name: "tracking",
  chains: [
    {
      name: "out",
      hook: { type: "filter", hook: "output", priority: 0, policy: "accept" },
      rules: [rule(match.ctState("invalid"), action.drop())],
    },
  ],
};

/** Listens on both families; prints the port, then each chunk that a connection brings. */
const server = `
import net from "node:net";
const server = net.createServer((socket) => socket.on("data", (data) => console.log(data.toString())));
server.listen(8080, "::", () => console.log("ready"));`;

const client = (address: string): string => `
import net from "node:net";
const socket = net.connect({ port: 8080, host: "${address}", localPort: 5555 }, () => console.log("connected"));`;

for (const [source, destination] of [
  ["10.9.0.1", "10.9.0.2"],
  ["fd09::1", "fd09::2"],
] as const) {
  test(`an entry is found, marked by mask, listed by mark and deleted: ${destination}`, async () => {
    const nftables = Nftables.open({ netns: a.fd });
    nftables.replace([tracking]);
    expect(await output(b.node(server))).toBe("ready");
    expect(await output(a.node(client(destination)))).toBe("connected");
    const conntrack = Conntrack.open({ netns: a.fd });
    const tuple: FlowTuple = {
      protocol: 6,
      source: bytes(source),
      destination: bytes(destination),
      sourcePort: 5555,
      destinationPort: 8080,
    };
    const reply = {
      ...tuple,
      source: tuple.destination,
      destination: tuple.source,
      sourcePort: 8080,
      destinationPort: 5555,
    };

    expect(conntrack.get(tuple)).toMatchObject({ original: tuple, reply, mark: 0, tcpState: "established" });
    expect(conntrack.get(reply)?.id).toBe(conntrack.get(tuple)?.id);
    expect(conntrack.setMark(tuple, 0x12345678, 0xffffffff)).toBe(true);
    expect(conntrack.setMark(reply, 0x5abfffff, 0xfff00000)).toBe(true);
    expect(conntrack.get(tuple)?.mark).toBe(0x5ab45678);
    expect(
      a.run("conntrack", "-L", "-p", "tcp", "--mark", "0x5ab45678", "-f", addressFamily(source)),
    ).toContain(`mark=${String(0x5ab45678)} `);
    expect(conntrack.list({ value: 0x50000000, mask: 0xf0000000 }).map(({ original }) => original)).toEqual([
      tuple,
    ]);
    expect(conntrack.list({ value: 0x60000000, mask: 0xf0000000 })).toEqual([]);
    expect(conntrack.delete(tuple)).toBe(true);
    expect([conntrack.get(tuple), conntrack.setMark(tuple, 1, 1), conntrack.delete(tuple)]).toEqual([
      undefined,
      false,
      false,
    ]);
    conntrack.close();
    nftables.close();
  });
}

function addressFamily(address: string): string {
  return address.includes(":") ? "ipv6" : "ipv4";
}

test("ICMP entries have id, type and code", () => {
  const nftables = Nftables.open({ netns: a.fd });
  nftables.replace([tracking]);
  const raw = RawSocket.open({ version: 4, netns: a.fd });
  expect(raw.send(echoRequest(77))).toBe(0);
  raw.close();
  const conntrack = Conntrack.open({ netns: a.fd });
  const [entry] = conntrack.list().filter(({ original }) => original.protocol === 1);
  expect(entry?.original.icmp).toEqual({ id: 77, type: 8, code: 0 });
  expect(entry === undefined ? undefined : conntrack.get(entry.original)?.id).toBe(entry?.id);
  conntrack.close();
  nftables.close();
});

/** From 10.9.0.1 to 10.9.0.2; the kernel completes the IP header. */
function echoRequest(id: number): Uint8Array {
  const packet = Buffer.alloc(28);
  packet.set([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1]);
  packet.set(bytes("10.9.0.1"), 12);
  packet.set(bytes("10.9.0.2"), 16);
  packet.writeUInt8(8, 20);
  packet.writeUInt16BE(id, 24);
  packet.writeUInt16BE(~(0x0800 + id) & 0xffff, 22);
  return packet;
}

test("a tuple that is none is refused before anything is sent", () => {
  const conntrack = Conntrack.open({ netns: a.fd });
  const tuple = {
    protocol: 6,
    source: new Uint8Array(0),
    destination: new Uint8Array(0),
    sourcePort: 1,
    destinationPort: 2,
  };
  expect(() => conntrack.delete(tuple)).toThrow(RangeError);
  conntrack.close();
});

test("links, addresses and routes are what iproute2 says", () => {
  a.run("ip", "route", "add", "default", "via", "10.9.0.2");
  a.run("ip", "route", "add", "10.77.0.0/16", "dev", "eth0");
  a.run("ip", "link", "set", "eth0", "mtu", "1400");
  const route = Route.open({ netns: a.fd });
  const peer = Route.open({ netns: b.fd });
  const [link] = route.links().filter(({ name }) => name === "eth0");
  const [other] = peer.links().filter(({ name }) => name === "eth0");
  const [said] = JSON.parse(a.run("ip", "-json", "link", "show", "eth0")) as {
    ifindex: number;
    address: string;
  }[];
  expect(link).toMatchObject({
    index: said?.ifindex,
    mtu: 1400,
    kind: "veth",
    peerIndex: other?.index,
    peerNetnsId: 0,
  });
  expect(Buffer.from(link?.address ?? []).toString("hex")).toBe(said?.address.replaceAll(":", ""));
  const index = link?.index ?? 0;
  const addresses = route.addresses(index).map(({ prefix }) => formatPrefix(prefix));
  expect(addresses).toEqual(expect.arrayContaining(["10.9.0.1/24", "fd09::1/64"]));
  expect(onLinkPrefixes(route.routes(), index, 4).map(formatPrefix).sort()).toEqual([
    "10.77.0.0/16",
    "10.9.0.0/24",
  ]);
  expect(onLinkPrefixes(route.routes(), index, 6).map(formatPrefix).sort()).toEqual([
    "fd09::/64",
    "fe80::/64",
  ]);
  const defaults = route.routes().filter(({ destination, type }) => destination.length === 0 && type === 1);
  expect(defaults).toMatchObject([{ index, viaGateway: true, gateway: bytes("10.9.0.2") }]);
  route.close();
  peer.close();
});

/** Counts what comes out of a raw socket with this mark. */
const counted: Table = {
  family: "inet",
  name: "counted",
  chains: [
    {
      name: "out",
      hook: { type: "filter", hook: "output", priority: 0, policy: "accept" },
      rules: [
        rule(match.mark(0xffffffff, 0x5ab00539), action.counter()),
        rule(match.mark(0xffffffff, 1), action.drop()),
      ],
    },
  ],
};

const listener = `
import dgram from "node:dgram";
const socket = dgram.createSocket("udp6");
socket.on("message", (data, { address, port }) => console.log(address + " " + port + " " + data));
socket.bind(9000, "::", () => console.log("ready"));`;

/** Checksums are the kernel's or absent in IPv4; in IPv6 UDP needs one, so it is computed. */
function udp(version: 4 | 6, source: string, destination: string, text: string): Uint8Array {
  const header = version === 4 ? 20 : 40;
  const packet = Buffer.alloc(header + 8 + text.length);
  packet.set(
    version === 4
      ? [0x45, 0, 0, packet.length, 0, 0, 0, 0, 64, 17]
      : [0x60, 0, 0, 0, 0, 8 + text.length, 17, 64],
  );
  packet.set(bytes(source), version === 4 ? 12 : 8);
  packet.set(bytes(destination), version === 4 ? 16 : 24);
  packet.writeUInt16BE(1234, header);
  packet.writeUInt16BE(9000, header + 2);
  packet.writeUInt16BE(8 + text.length, header + 4);
  packet.write(text, header + 8);
  if (version === 6) packet.writeUInt16BE(checksum(packet), header + 6);
  return packet;
}

function checksum(packet: Buffer): number {
  let sum = 17 + packet.length - 40;
  for (let index = 8; index < packet.length; index += 2) sum += packet.readUInt16BE(index);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

for (const [version, source, destination, shown] of [
  [4, "10.9.0.77", "10.9.0.2", "::ffff:10.9.0.77"],
  [6, "fd09::77", "fd09::2", "fd09::77"],
] as const) {
  test(`a raw socket sends whole IPv${version} packets, with a mark`, async () => {
    const nftables = Nftables.open({ netns: a.fd });
    nftables.replace([counted]);
    const receiver = b.node(listener);
    expect(await output(receiver)).toBe("ready");
    const raw = RawSocket.open({ version, netns: a.fd, mark: 0x5ab00539 });
    const packet = udp(version, source, destination, "whole!");
    expect(raw.send(packet)).toBe(0);
    expect(await output(receiver)).toBe(`${shown} 1234 whole!`);
    raw.setMark(1);
    expect(raw.send(packet)).toBe(1);
    const [hit] = nftables.read("inet", "counted")?.chains[0]?.rules[0]?.expressions.slice(-1) ?? [];
    expect(hit).toMatchObject({ kind: "counter", packets: 1n });
    expect(() => raw.send(packet.subarray(0, 16))).toThrow(RangeError);
    raw.close();
    nftables.close();
  });
}
