/** Numbers of nf_tables that encoder and decoder share. Source: linux/netfilter/nf_tables.h, linux/netfilter.h. */
import type { CompareOperator, CtKey, Family, HookName, MetaKey, PayloadBase, SetKeyType } from "./model.ts";

const NFNL_SUBSYS_NFTABLES = 10;
function message(type: number): number {
  return (NFNL_SUBSYS_NFTABLES << 8) | type;
}

export const NFT_MSG_NEWTABLE = message(0);
export const NFT_MSG_GETTABLE = message(1);
export const NFT_MSG_DELTABLE = message(2);
export const NFT_MSG_NEWCHAIN = message(3);
export const NFT_MSG_GETCHAIN = message(4);
export const NFT_MSG_NEWRULE = message(6);
export const NFT_MSG_GETRULE = message(7);
export const NFT_MSG_NEWSET = message(9);
export const NFT_MSG_GETSET = message(10);
export const NFT_MSG_NEWSETELEM = message(12);
export const NFT_MSG_GETSETELEM = message(13);
export const NFT_MSG_NEWGEN = message(15);
export const NFT_MSG_GETGEN = message(16);

export const NFNL_MSG_BATCH_BEGIN = 0x10;
export const NFNL_MSG_BATCH_END = 0x11;

export const tableAttribute = { name: 1, flags: 2 } as const;
export const chainAttribute = { table: 1, name: 3, hook: 4, policy: 5, type: 7 } as const;
export const hookAttribute = { number: 1, priority: 2, device: 3, devices: 4 } as const;
/** Of each device in a list of them (enum nft_devices_attributes). */
export const deviceAttribute = { name: 1 } as const;
export const ruleAttribute = { table: 1, chain: 2, expressions: 4 } as const;
export const setAttribute = {
  table: 1,
  name: 2,
  flags: 3,
  keyType: 4,
  keyLength: 5,
  description: 9,
  id: 10,
  userData: 13,
} as const;
export const setDescription = { size: 1 } as const;
export const elementListAttribute = { table: 1, set: 2, elements: 3, setId: 4 } as const;
export const elementAttribute = { key: 1, flags: 3 } as const;
export const generationAttribute = { id: 1 } as const;
/** NFTA_LIST_ELEM: the type of every item of a list. */
export const listElement = 1;
export const dataAttribute = { value: 1, verdict: 2 } as const;
export const verdictAttribute = { code: 1, chain: 2 } as const;
export const expressionAttribute = { name: 1, data: 2 } as const;

export const metaAttribute = { destination: 1, key: 2, source: 3 } as const;
export const ctAttribute = { destination: 1, key: 2, direction: 3, source: 4 } as const;
export const payloadAttribute = { destination: 1, base: 2, offset: 3, length: 4 } as const;
export const bitwiseAttribute = {
  source: 1,
  destination: 2,
  length: 3,
  mask: 4,
  xor: 5,
  operation: 6,
} as const;
export const compareAttribute = { source: 1, operator: 2, data: 3 } as const;
export const immediateAttribute = { destination: 1, data: 2 } as const;
export const lookupAttribute = { set: 1, source: 2, setId: 4, flags: 5 } as const;
export const counterAttribute = { bytes: 1, packets: 2 } as const;
export const queueAttribute = { number: 1, total: 2, flags: 3 } as const;
export const targetAttribute = { name: 1, revision: 2, info: 3 } as const;

export const NFT_REG_VERDICT = 0;
export const NFT_REG_1 = 1;
export const NFT_SET_ANONYMOUS = 1;
export const NFT_SET_CONSTANT = 2;
export const NFT_SET_INTERVAL = 4;
export const NFT_SET_ELEM_INTERVAL_END = 1;
export const NFT_LOOKUP_F_INV = 1;
export const NFT_QUEUE_FLAG_BYPASS = 1;
export const NFT_QUEUE_FLAG_CPU_FANOUT = 2;
/** enum nfproto. */
export const familyNumber: Record<Family, number> = { inet: 1, ip: 2, netdev: 5, ip6: 10 };

const inetHooks: Partial<Record<HookName, number>> = {
  prerouting: 0,
  input: 1,
  forward: 2,
  output: 3,
  postrouting: 4,
  ingress: 5,
};
const netdevHooks: Partial<Record<HookName, number>> = { ingress: 0, egress: 1 };

export function hooksOf(family: Family): Partial<Record<HookName, number>> {
  return family === "netdev" ? netdevHooks : inetHooks;
}

export const policyNumber = { drop: 0, accept: 1 } as const;

/** NF_DROP and NF_ACCEPT; the others are negative nf_tables codes, as unsigned 32-bit numbers. */
export const verdictCode = {
  drop: 0,
  accept: 1,
  continue: 0xffffffff,
  jump: 0xfffffffd,
  goto: 0xfffffffc,
  return: 0xfffffffb,
} as const;

export const metaKeyNumber: Record<MetaKey, number> = {
  length: 0,
  protocol: 1,
  mark: 3,
  iif: 4,
  oif: 5,
  iifname: 6,
  oifname: 7,
  iiftype: 8,
  oiftype: 9,
  skuid: 10,
  skgid: 11,
  rtclassid: 13,
  nfproto: 15,
  l4proto: 16,
  pkttype: 19,
  cgroup: 23,
};

export const ctKeyNumber: Record<CtKey, number> = { state: 0, status: 2, mark: 3 };
export const payloadBaseNumber: Record<PayloadBase, number> = { link: 0, network: 1, transport: 2 };
export const compareOperatorNumber: Record<CompareOperator, number> = {
  "==": 0,
  "!=": 1,
  "<": 2,
  "<=": 3,
  ">": 4,
  ">=": 5,
};

/** enum datatypes of nft (src/datatype.h). */
export const setKeyTypeNumber: Record<SetKeyType, number> = {
  other: 4,
  ipv4_addr: 7,
  ipv6_addr: 8,
  ether_addr: 9,
  ether_type: 10,
  inet_proto: 12,
  inet_service: 13,
  icmp_type: 14,
  mark: 19,
  icmpv6_type: 29,
  ifname: 41,
};

/** The name that has this number. */
export function nameOf<Name extends string>(
  numbers: Partial<Record<Name, number>>,
  number: number | undefined,
): Name | undefined {
  for (const name of Object.keys(numbers) as Name[]) if (numbers[name] === number) return name;
  return undefined;
}
