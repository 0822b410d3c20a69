/** Owns random attributes, policies and addresses for the property tests; values are few, so that matches, overlaps and ties are common. */
import fc from "fast-check";
import {
  type Cidr,
  containsCidr,
  formatAddress,
  formatCidr,
  maskAddress,
  parseAddress,
  parseCidr,
} from "../../enforcer/policy/addresses.ts";
import { makeAttributes } from "../../enforcer/policy/attributes.ts";
import type {
  AddressPeer,
  NamedPolicy,
  Peer,
  Policy,
  Requirement,
  Rule,
} from "../../enforcer/policy/model.ts";

const key = fc.constantFrom("app", "tier", "env", "@ns");
const value = fc.constantFrom("", "a", "ab", "abc", "b", "web", "web-1");
const values = fc.uniqueArray(value, { minLength: 1, maxLength: 3 });

export const attributes = fc.array(fc.tuple(key, values), { maxLength: 4 }).map(makeAttributes);

const requirement: fc.Arbitrary<Requirement> = fc.oneof(
  fc.record({ operator: fc.constantFrom("In", "NotIn", "Prefix"), key, values }),
  fc.record({ operator: fc.constantFrom("Exists", "DoesNotExist"), key }),
);

const requirements = fc.array(requirement, { maxLength: 2 });

/** Addresses close to one another and to the ends of their families. */
export const address = fc
  .oneof(
    fc.tuple(
      fc.constantFrom("10.0.0.", "10.0.1.", "255.255.255.", "0.0.0."),
      fc.constantFrom(0, 1, 2, 127, 128, 254, 255),
    ),
    fc.tuple(
      fc.constantFrom("fd00::", "fd00:0:0:1::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:", "::", "::1:0:0:"),
      fc.constantFrom("0", "1", "ffff", "8000"),
    ),
  )
  .map(([head, tail]) => canonical(`${head}${tail}`));

function canonical(text: string): string {
  return formatAddress(parseAddress(text) ?? new Uint8Array(16));
}

export const cidr = fc.tuple(address, fc.nat(128)).map(([text, bits]) => {
  const family = text.includes(":") ? 6 : 4;
  const prefixLength = family === 4 ? bits % 33 : bits;
  const whole = parseAddress(text) ?? new Uint8Array(16);
  return formatCidr({
    family,
    prefixLength,
    address: maskAddress(whole, prefixLength + (family === 4 ? 96 : 0)),
  });
});

/** Exceptions lie inside their block, as validation demands: the whole block, its first part, or what of the others happens to. */
const addressPeer: fc.Arbitrary<AddressPeer> = fc
  .tuple(cidr, fc.array(fc.oneof(fc.nat(3), cidr), { maxLength: 3 }))
  .map(([text, drafts]) => {
    const whole = parseCidr(text) as Cidr;
    const width = whole.family === 4 ? 32 : 128;
    const holes = drafts.map((draft) =>
      typeof draft === "number"
        ? { ...whole, prefixLength: Math.min(width, whole.prefixLength + draft) }
        : (parseCidr(draft) as Cidr),
    );
    const inside = holes.filter((hole) => containsCidr(whole, hole));
    return { kind: "address", cidr: text, except: inside.map(formatCidr) };
  });

const peer: fc.Arbitrary<Peer> = fc.oneof(
  fc.record({ kind: fc.constant("selector"), requirements, sameAs: fc.uniqueArray(key, { maxLength: 1 }) }),
  addressPeer,
);

export const protocol = fc.constantFrom(1, 6, 17, 58, 132);
export const port = fc.constantFrom(0, 1, 79, 80, 81, 443, 65534, 65535);

const portRange = fc.tuple(protocol, port, port).map(([number, left, right]) => ({
  protocol: number,
  first: Math.min(left, right),
  last: Math.max(left, right),
}));

const rule = fc.record(
  {
    action: fc.constantFrom("allow", "deny"),
    peers: fc.array(peer, { minLength: 1, maxLength: 3 }),
    ports: fc.array(portRange, { minLength: 1, maxLength: 3 }),
  },
  { requiredKeys: ["action", "peers"] },
);

const namedPolicy = fc.record({
  subject: fc.array(requirement, { maxLength: 1 }),
  ingress: fc.array(rule, { maxLength: 4 }),
  egress: fc.array(rule, { maxLength: 4 }),
});

export const policy: fc.Arbitrary<Policy> = fc.array(namedPolicy, { maxLength: 5 }).map((drafts) => ({
  version: 1,
  policies: drafts.map((draft, index): NamedPolicy => {
    const named = (direction: string, rules: readonly Omit<Rule, "name">[]): Rule[] =>
      rules.map((one, position) => ({ ...one, name: `p${index}/${direction}[${position}]` }));
    return {
      ...draft,
      name: `p${index}`,
      ingress: named("ingress", draft.ingress),
      egress: named("egress", draft.egress),
    };
  }),
}));
