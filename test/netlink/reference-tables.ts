/** One rule set said twice: in nft's language and with our builder. It uses every match and action that the builder has. */
import { action, match, netdevRule, rule, tcpFlag } from "../../netlink/nftables/builder.ts";
import type { Chain, Hook, Table } from "../../netlink/nftables/model.ts";
import { parsePrefix, type Prefix } from "../../netlink/prefix.ts";

const { syn, rst, ack, fin } = tcpFlag;
const bits = Array.from({ length: 12 }, (_, index) => 2 ** (20 + index));
const hex = (value: number): string => `0x${value.toString(16)}`;

export const referenceScript = `
table inet reference {
  chain save {
    ct mark set ct mark & 0x000fffff
${bits.map((bit) => `    meta mark & ${hex(bit)} == ${hex(bit)} ct mark set ct mark | ${hex(bit)}`).join("\n")}
    return
  }
  chain in_raw { type filter hook prerouting priority -300; policy accept;
    iifname != "eth0" meta mark set meta mark & 0x000fffff accept
    iifname != { "eth0", "net1" } accept
    meta mark set 0
    tcp flags & (syn|rst) == (syn|rst) drop
    tcp flags & (syn|fin) == (syn|fin) drop
    tcp flags & (syn|ack) == syn queue num 0
    tcp flags & syn == syn queue num 1
  }
  chain in { type filter hook prerouting priority -150; policy drop;
    iifname { "eth0", "net1" } counter accept
    iifname "lo" accept
    ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect } accept
    ip6 hoplimit 1 ip6 saddr { ::, fe80::/10 } icmpv6 type { mld-listener-query, mld-listener-report } accept
    ip saddr { 10.0.0.0/8, 192.168.0.1, 250.0.0.0/8 } ip daddr 10.1.2.3 icmpv6 type mld-listener-done drop
    tcp flags & syn == syn meta mark & 0xf0000000 == 0x10000000 accept
    ct state & invalid != 0 drop
    ct state & (established|related) != 0 accept
    ct mark & 0xf0000000 == 0x50000000 accept
    meta l4proto tcp queue num 2
    queue num 5
  }
  chain out { type filter hook postrouting priority 200; policy drop;
    oifname != "eth0" accept
    oifname "lo" accept
    oifname { "eth0", "net1" } accept
    oifname != { "eth0", "net1" } accept
    ip6 hoplimit 255 ip6 daddr { fe80::/10, ff02::/16, fd00:1::/64 } icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
    tcp flags & syn == syn ct mark set ct mark & 0x000fffff queue num 3
    meta mark & 0xf0000000 == 0x50000000 jump save
    meta l4proto udp goto save
  }
}
table netdev reference {
  chain egress { type filter hook egress device "lo" priority 0; policy drop;
    ether type arp arp saddr ip { 0.0.0.0, 10.0.0.1 } accept
    ether type arp arp saddr ip 10.0.0.2 accept
    meta rtclassid & 0 == 0 goto stack
  }
  chain stack {
    meta mark 0x12345678 drop
    meta mark set 0
    ip saddr { 0.0.0.0, 10.0.0.1 } accept
    ip6 saddr { ::, fd00::1, fe80::1 } accept
    ip6 daddr { fe80::/10, ff02::/16 } accept
    tcp flags & (syn|ack) == syn drop
    drop
  }
}
`;

const prefixes = (...texts: readonly string[]): Prefix[] =>
  texts.map(parsePrefix).filter((prefix) => prefix !== undefined);
const ip = (text: string): Uint8Array => prefixes(text)[0]?.address ?? new Uint8Array(0);
const hook = (name: Hook["hook"], priority: number, policy: Hook["policy"]): Hook => ({
  type: "filter",
  hook: name,
  priority,
  policy,
});

const save: Chain = {
  name: "save",
  rules: [
    rule(action.keepCtMark(0x000fffff)),
    ...bits.map((bit) => rule(match.mark(bit, bit), action.mergeCtMark(~bit, bit))),
    rule(action.return()),
  ],
};

const inRaw: Chain = {
  name: "in_raw",
  hook: hook("prerouting", -300, "accept"),
  rules: [
    rule(match.notInputInterface("eth0"), action.keepMark(0x000fffff), action.accept()),
    rule(match.notInputInterfaceIn(["eth0", "net1"]), action.accept()),
    rule(action.setMark(0)),
    rule(match.tcpFlags(syn | rst, syn | rst), action.drop()),
    rule(match.tcpFlags(syn | fin, syn | fin), action.drop()),
    rule(match.tcpFlags(syn | ack, syn), action.queue(0)),
    rule(match.tcpFlags(syn, syn), action.queue(1)),
  ],
};

const inbound: Chain = {
  name: "in",
  hook: hook("prerouting", -150, "drop"),
  rules: [
    rule(match.inputInterfaceIn(["eth0", "net1"]), action.counter(), action.accept()),
    rule(match.inputInterface("lo"), action.accept()),
    rule(match.ip6HopLimit(255), match.icmp6Type([133, 134, 135, 136, 137]), action.accept()),
    rule(
      match.ip6HopLimit(1),
      match.ip6Source(prefixes("::", "fe80::/10")),
      match.icmp6Type([130, 131]),
      action.accept(),
    ),
    rule(
      match.ip4Source(prefixes("10.0.0.0/8", "192.168.0.1", "250.0.0.0/8")),
      match.ip4Destination(prefixes("10.1.2.3")),
      match.icmp6Type([132]),
      action.drop(),
    ),
    rule(match.tcpFlags(syn, syn), match.mark(0xf0000000, 0x10000000), action.accept()),
    rule(match.ctState("invalid"), action.drop()),
    rule(match.ctState("established", "related"), action.accept()),
    rule(match.ctMark(0xf0000000, 0x50000000), action.accept()),
    rule(match.protocol(6), action.queue(2)),
    rule(action.queue(5)),
  ],
};

const outbound: Chain = {
  name: "out",
  hook: hook("postrouting", 200, "drop"),
  rules: [
    rule(match.notOutputInterface("eth0"), action.accept()),
    rule(match.outputInterface("lo"), action.accept()),
    rule(match.outputInterfaceIn(["eth0", "net1"]), action.accept()),
    rule(match.notOutputInterfaceIn(["eth0", "net1"]), action.accept()),
    rule(
      match.ip6HopLimit(255),
      match.ip6Destination(prefixes("fe80::/10", "ff02::/16", "fd00:1::/64")),
      match.icmp6Type([133, 135, 136]),
      action.accept(),
    ),
    rule(match.tcpFlags(syn, syn), action.keepCtMark(0x000fffff), action.queue(3)),
    rule(match.mark(0xf0000000, 0x50000000), action.jump("save")),
    rule(match.protocol(17), action.goto("save")),
  ],
};

export const referenceInet: Table = {
  family: "inet",
  name: "reference",
  chains: [save, inRaw, inbound, outbound],
};

export const referenceNetdev: Table = {
  family: "netdev",
  name: "reference",
  chains: [
    {
      name: "egress",
      hook: { ...hook("egress", 0, "drop"), devices: ["lo"] },
      rules: [
        netdevRule(match.arpSenderIp([ip("0.0.0.0"), ip("10.0.0.1")]), action.accept()),
        netdevRule(match.arpSenderIp([ip("10.0.0.2")]), action.accept()),
        netdevRule(match.hasRoute(), action.goto("stack")),
      ],
    },
    {
      name: "stack",
      rules: [
        netdevRule(match.markIs(0x12345678), action.drop()),
        netdevRule(action.setMark(0)),
        netdevRule(match.ip4Source(prefixes("0.0.0.0", "10.0.0.1")), action.accept()),
        netdevRule(match.ip6Source(prefixes("::", "fd00::1", "fe80::1")), action.accept()),
        netdevRule(match.ip6Destination(prefixes("fe80::/10", "ff02::/16")), action.accept()),
        netdevRule(match.tcpFlags(syn | ack, syn), action.drop()),
        netdevRule(action.drop()),
      ],
    },
  ],
};
