/** Owns turning the text of a policy file into a Policy, or into everything that is wrong with it. */
import { type Cidr, formatCidr, parseCidr } from "./addresses.ts";
import { limitProblems, type Path, readDocument, type SourceDocument } from "./document.ts";
import type { NamedPolicy, Peer, Policy, PortRange, Requirement, Rule } from "./model.ts";
import {
  type NamedPolicyDraft,
  type PeerDraft,
  policyFileSchema,
  protocolNumber,
  type RuleDraft,
  type SelectorDraft,
} from "./policy-schema.ts";
import type { Problem } from "./problem.ts";
import { checkDocument, formatPath, show } from "./shape.ts";

export type PolicyResult =
  | { readonly ok: true; readonly policy: Policy }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** Reads a policy file's text; `file` only names it in problems. Never throws. */
export function parsePolicy(text: string, file: string): PolicyResult {
  const document = readDocument(text, file);
  if (!("value" in document)) return { ok: false, problems: document };
  const checked = checkDocument(policyFileSchema, document, (path) => subjectOf(document.value, path));
  const problems = [...(checked.ok ? [] : checked.problems), ...repeatedNames(document)];
  if (!checked.ok || problems.length > 0) return { ok: false, problems: limitProblems(problems) };
  return { ok: true, policy: { version: 1, policies: checked.value.policies.map(toNamedPolicy) } };
}

/** `shop/from-web from[0]`: the policy, its rule and the rest of the path, with names where the file has them. */
function subjectOf(value: unknown, path: Path): string {
  if (path[0] !== "policies" || path.length < 2) return formatPath(path);
  const policy = nameAt(value, path.slice(0, 2)) ?? formatPath(path.slice(0, 2));
  const isInRule = path.length >= 4 && (path[2] === "ingress" || path[2] === "egress");
  if (!isInRule) return [policy, formatPath(path.slice(2))].filter(Boolean).join(" ");
  const rule = nameAt(value, path.slice(0, 4)) ?? formatPath(path.slice(2, 4));
  return [`${policy}/${rule}`, formatPath(path.slice(4))].filter(Boolean).join(" ");
}

function nameAt(value: unknown, path: Path): string | undefined {
  const name = valueAt(value, [...path, "name"]);
  return typeof name === "string" && /^[\w.-]{1,63}$/.test(name) ? name : undefined;
}

/** Whatever stands at a path of an unchecked value. */
function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((at, step) => (isObject(at) ? at[step] : undefined), value);
}

function isObject(value: unknown): value is Record<PropertyKey, unknown> {
  return typeof value === "object" && value !== null;
}

/** Two policies of one name, or two rules of one policy. Looks at unchecked values, so that other problems don't hide these. */
function repeatedNames(document: SourceDocument): Problem[] {
  const policies = pathsIn(document.value, ["policies"]);
  const rules = policies.map((policy) =>
    ["ingress", "egress"].flatMap((direction) => pathsIn(document.value, [...policy, direction])),
  );
  return [policies, ...rules].flatMap((paths) => repeatedAmong(document, paths));
}

function pathsIn(value: unknown, path: Path): Path[] {
  const items = valueAt(value, path);
  return Array.isArray(items) ? items.map((_, index) => [...path, index]) : [];
}

function repeatedAmong(document: SourceDocument, paths: readonly Path[]): Problem[] {
  const seen = new Set<unknown>();
  return paths.flatMap((path) => {
    const name = valueAt(document.value, [...path, "name"]);
    if (typeof name !== "string" || !seen.has(name)) {
      seen.add(name);
      return [];
    }
    const place = document.locate([...path, "name"]);
    const subject = subjectOf(document.value, path);
    return [
      {
        file: document.file,
        ...place,
        subject,
        message: `the name ${show(name)} is taken`,
        remedy: "write another name",
      },
    ];
  });
}

function toNamedPolicy(draft: NamedPolicyDraft): NamedPolicy {
  const rules = (
    direction: "ingress" | "egress",
    drafts: readonly RuleDraft[],
    peers: readonly PeerDraft[][],
  ): Rule[] =>
    drafts.map((rule, index) =>
      toRule(rule, peers[index] ?? [], `${draft.name}/${rule.name ?? `${direction}[${index}]`}`),
    );
  const { ingress = [], egress = [] } = draft;
  return {
    name: draft.name,
    subject: toRequirements(draft.subject),
    ingress: rules(
      "ingress",
      ingress,
      ingress.map((rule) => rule.from),
    ),
    egress: rules(
      "egress",
      egress,
      egress.map((rule) => rule.to),
    ),
  };
}

function toRule(draft: RuleDraft, peers: readonly PeerDraft[], name: string): Rule {
  const base = { name, action: draft.action ?? "allow", peers: peers.map(toPeer) } as const;
  return draft.ports === undefined ? base : { ...base, ports: draft.ports.map(toPortRange) };
}

function toPeer(draft: PeerDraft): Peer {
  if (draft.ipBlock === undefined) {
    return { kind: "selector", requirements: toRequirements(draft), sameAs: draft.sameAs ?? [] };
  }
  const { cidr, except = [] } = draft.ipBlock;
  return { kind: "address", cidr: canonical(cidr), except: except.map(canonical) };
}

/** With a prefix length; the schema has parsed it once already. */
function canonical(text: string): string {
  return formatCidr(parseCidr(text) as Cidr);
}

function toRequirements(draft: SelectorDraft): Requirement[] {
  const labels = Object.entries(draft.matchLabels ?? {});
  return [
    ...labels.map(([key, value]): Requirement => ({ operator: "In", key, values: [value] })),
    ...(draft.matchExpressions ?? []).map(toRequirement),
  ];
}

function toRequirement(draft: NonNullable<SelectorDraft["matchExpressions"]>[number]): Requirement {
  const { key, operator, value, values = value === undefined ? [] : [value] } = draft;
  switch (operator) {
    case "=":
    case "In":
      return { operator: "In", key, values };
    case "!=":
    case "NotIn":
      return { operator: "NotIn", key, values };
    case "Prefix":
      return { operator, key, values };
    case "Exists":
    case "DoesNotExist":
      return { operator, key };
  }
}

function toPortRange(draft: NonNullable<RuleDraft["ports"]>[number]): PortRange {
  const first = draft.port ?? 0;
  const last = draft.endPort ?? draft.port ?? 65535;
  return { protocol: protocolNumber(draft), first, last };
}
