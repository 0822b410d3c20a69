/** Owns the grammar of a policy file as a schema: what may stand where. Source: README.md of this folder, which explains it to its writers. */
import * as z from "zod";
import { containsCidr, parseCidr } from "./addresses.ts";
import { block, choice, fault, integer, list, map, show, text } from "./shape.ts";

/** IP protocol numbers by the names that a file may use. */
export const protocolNames = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;

/** Protocols that have ports, so that an address rule must name one. */
const protocolsWithPorts: readonly number[] = [protocolNames.TCP, protocolNames.UDP, protocolNames.SCTP];

const name = text(
  "a name of letters, digits, '-', '_' and '.', at most 63, beginning with a letter or digit",
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
);
const description = text("a description on one line, at most 1000 characters", /^\P{Cc}{0,1000}$/u);
const key = text(
  "an attribute key such as app or @ns: 1 to 317 characters, without spaces, '=' or ','",
  /^[^\s=,\p{C}]{1,317}$/u,
);
const value = text(
  "a value as text (numbers, true and false in quotes), at most 1024 characters",
  /^\P{Cc}{0,1024}$/u,
);

const matchLabels = z
  .record(key, value, {
    error: () => fault("this is not a map of labels", "write key: value pairs, such as { app: web }"),
  })
  .meta({ description: "labels that must all be there with exactly this value" });

const single = ["=", "!=", "Prefix"] as const;
const several = ["In", "NotIn"] as const;
const none = ["Exists", "DoesNotExist"] as const;
const operators = [...single, ...several, ...none] as const;

const expression = map("a requirement: key, operator, and value or values", {
  key,
  operator: choice(`one of ${operators.join(", ")}`, operators),
  value: value.optional(),
  values: list("a list of one or more values", value, 1).optional(),
})
  .superRefine((draft, context) => {
    const problem = expressionFault(draft);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  })
  .meta({
    oneOf: [
      { properties: { operator: { enum: [...single] } }, required: ["value"], not: { required: ["values"] } },
      {
        properties: { operator: { enum: [...several] } },
        required: ["values"],
        not: { required: ["value"] },
      },
      {
        properties: { operator: { enum: [...none] } },
        not: { anyOf: [{ required: ["value"] }, { required: ["values"] }] },
      },
    ],
  });

interface ExpressionDraft {
  readonly operator: (typeof operators)[number];
  readonly value?: string | undefined;
  readonly values?: readonly string[] | undefined;
}

function expressionFault({ operator, value: one, values }: ExpressionDraft): string | undefined {
  const isIn = (group: readonly string[]): boolean => group.includes(operator);
  if (isIn(single) && (one === undefined || values !== undefined))
    return fault(`${show(operator)} takes one value`, "write value: TEXT");
  if (isIn(several) && (values === undefined || one !== undefined))
    return fault(`${show(operator)} takes a list`, "write values: [TEXT, …]");
  if (isIn(none) && (one ?? values) !== undefined)
    return fault(`${show(operator)} takes no value`, "remove value and values");
  if (operator === "Prefix" && one === "")
    return fault("every value has the empty prefix", "write operator: Exists");
  return undefined;
}

const selectorKeys = {
  matchLabels: matchLabels.optional(),
  matchExpressions: list("a list of requirements, all of which must hold", expression).optional(),
};

const subject = map("a selector of the units that the rules are for; {} is every unit", selectorKeys);

const cidr = block("10.0.0.0/8 or fd00::/8");

const ipBlock = map("an address block: cidr, and except for what it leaves out", {
  cidr,
  except: list("a list of CIDRs inside this block", cidr).optional(),
}).superRefine((draft, context) => {
  const whole = parseCidr(draft.cidr);
  for (const [index, hole] of (draft.except ?? []).entries()) {
    const inner = parseCidr(hole);
    if ("error" in whole || "error" in inner) continue;
    if (containsCidr(whole, inner) && inner.prefixLength > whole.prefixLength) continue;
    const message = fault(
      `${hole} is not a part of ${draft.cidr}`,
      "write smaller blocks inside cidr, or another ipBlock",
    );
    context.addIssue({ code: "custom", path: ["except", index], message });
  }
});

const peer = map("a peer: a selector of identities ({} is every one), or an ipBlock", {
  ...selectorKeys,
  sameAs: list("a list of keys of which peer and unit must share a value", key, 1).optional(),
  ipBlock: ipBlock.optional(),
})
  .superRefine((draft, context) => {
    if (draft.ipBlock === undefined || Object.keys(draft).length === 1) return;
    const remedy = "write them as two peers: an address has no identity";
    context.addIssue({
      code: "custom",
      path: ["ipBlock"],
      message: fault("ipBlock stands beside a selector", remedy),
    });
  })
  .meta({ if: { required: ["ipBlock"] }, then: { maxProperties: 1 } });

const noProtocol = ({ input }: { input?: unknown }): string =>
  fault(`protocol ${show(input)} is unknown`, "write TCP, UDP, SCTP, ICMP, ICMPv6 or an IP protocol number");

const numericProtocol = z
  .int({ error: noProtocol })
  .min(0, { error: noProtocol, abort: true })
  .max(255, { error: noProtocol, abort: true });
const protocol = z
  .union([z.enum(["TCP", "UDP", "SCTP", "ICMP", "ICMPv6"]), numericProtocol], { error: noProtocol })
  .meta({ description: "TCP (the default), UDP, SCTP, ICMP, ICMPv6, or an IP protocol number" });

const portNumber = integer("a port number from 1 to 65535 (names of ports are not supported)", 1, 65535);

const port = map("a port: protocol, port, and endPort for a range", {
  protocol: protocol.optional(),
  port: portNumber.optional(),
  endPort: portNumber.optional(),
}).superRefine((draft, context) => {
  const problem = portFault(draft);
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
});

interface PortDraft {
  readonly protocol?: keyof typeof protocolNames | number | undefined;
  readonly port?: number | undefined;
  readonly endPort?: number | undefined;
}

/** The IP protocol number; TCP where none is given. */
export function protocolNumber(draft: PortDraft): number {
  return typeof draft.protocol === "number" ? draft.protocol : protocolNames[draft.protocol ?? "TCP"];
}

function portFault(draft: PortDraft): string | undefined {
  if (draft.port !== undefined && !protocolsWithPorts.includes(protocolNumber(draft))) {
    return fault(`protocol ${draft.protocol ?? "TCP"} has no ports`, "remove port and endPort");
  }
  if (draft.endPort === undefined) return undefined;
  if (draft.port === undefined)
    return fault("endPort stands without port", "write port, the first of the range");
  return draft.endPort < draft.port
    ? fault("endPort is below port", "write the smaller number as port")
    : undefined;
}

const action = z
  .enum(["allow", "deny"], {
    error: ({ input }) =>
      input === "observe"
        ? fault(`action "observe" is reserved and doesn't exist yet`, "write allow or deny")
        : fault(`action ${show(input)} is unknown`, "write allow or deny"),
  })
  .meta({ description: "allow (the default) or deny; deny beats allow, wherever it stands" });

const peers = (direction: string): z.ZodArray<typeof peer> =>
  list(`a list of one or more peers ${direction}; [{}] is every identity`, peer, 1);

const commonRuleKeys = {
  name: name.optional(),
  description: description.optional(),
  action: action.optional(),
  ports: list("a list of one or more ports, or leave ports out for all of them", port, 1).optional(),
};

const ingressRule = map("an ingress rule: name, action, from, ports", {
  ...commonRuleKeys,
  from: peers("that connect in"),
}).superRefine((draft, context) => checkRule(draft, draft.from, context));
const egressRule = map("an egress rule: name, action, to, ports", {
  ...commonRuleKeys,
  to: peers("to connect to"),
}).superRefine((draft, context) => checkRule(draft, draft.to, context));

export type PeerDraft = z.infer<typeof peer>;
export type SelectorDraft = z.infer<typeof subject>;
export interface RuleDraft {
  readonly name?: string | undefined;
  readonly action?: "allow" | "deny" | undefined;
  readonly ports?: readonly PortDraft[] | undefined;
}

/** Where a check reports to. */
interface Refinement {
  addIssue(issue: { code: "custom"; message: string; path?: (string | number)[] }): void;
}

function checkRule(rule: RuleDraft, to: readonly PeerDraft[], context: Refinement): void {
  const hasAddress = to.some((one) => one.ipBlock !== undefined);
  const hasIdentity = to.some((one) => one.ipBlock === undefined);
  if (hasAddress && rule.action !== "deny" && rule.ports === undefined) {
    const message = fault(
      "an ipBlock is allowed without ports",
      "write ports: protocol and port of each (port: 1, endPort: 65535 for all)",
    );
    context.addIssue({ code: "custom", message });
  }
  for (const [index, one] of (rule.ports ?? []).entries()) {
    const needsPort =
      hasAddress && rule.action !== "deny" && protocolsWithPorts.includes(protocolNumber(one));
    const message = portInRuleFault(one, hasIdentity, needsPort);
    if (message !== undefined) context.addIssue({ code: "custom", path: ["ports", index], message });
  }
}

function portInRuleFault(one: PortDraft, hasIdentity: boolean, needsPort: boolean): string | undefined {
  if (hasIdentity && protocolNumber(one) !== protocolNames.TCP) {
    return fault(
      `protocol ${one.protocol ?? "TCP"} is not judged by identity yet`,
      "write protocol: TCP, or give the peers as ipBlock in a rule of their own",
    );
  }
  if (needsPort && one.port === undefined) {
    return fault("an ipBlock is allowed on every port", "write port (port: 1, endPort: 65535 for all)");
  }
  return undefined;
}

const namedPolicy = map("a policy: name, subject, ingress, egress", {
  name,
  description: description.optional(),
  subject,
  ingress: list("a list of ingress rules", ingressRule).optional(),
  egress: list("a list of egress rules", egressRule).optional(),
});

/** The whole file. Uniqueness of names is checked apart, so that it is reported together with everything else. */
export const policyFileSchema = map("a policy file: version: 1 and policies", {
  version: z.literal(1, { error: () => fault("this is no version that we know", "write version: 1") }),
  policies: list("a list of policies", namedPolicy),
});

export type PolicyFile = z.infer<typeof policyFileSchema>;
export type NamedPolicyDraft = PolicyFile["policies"][number];
