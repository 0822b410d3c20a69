/**
 * The layers, as a table: what each part may import, and of which parts it may use types only. Everything else inside the repository is
 * forbidden to it. `test/layers.test.ts` shows that a forbidden import is found.
 */
const ours = "^(plugin|enforcer|netlink|install|conformance|test)/";
const leaves = ["^enforcer/reason\\.ts$", "^enforcer/operation-error\\.ts$"];

const layers = [
  { name: "netlink", may: [] },
  { name: "plugin", may: ["^netlink/", "^enforcer/control/(messages|lines)\\.ts$"] },
  { name: "enforcer/packet", may: leaves },
  { name: "enforcer/digest", may: ["^netlink/addon\\.ts$"] },
  { name: "enforcer/policy", may: leaves },
  { name: "enforcer/config", may: [...leaves, "^enforcer/policy/"] },
  {
    name: "enforcer/handshake",
    may: [...leaves, "^enforcer/(packet|digest)/"],
    types: ["^enforcer/identity/", "^enforcer/policy/"],
  },
  { name: "enforcer/identity", may: [...leaves, "^enforcer/packet/"], types: ["^enforcer/policy/"] },
  {
    name: "enforcer/datapath",
    may: [
      ...leaves,
      "^enforcer/(packet|digest|handshake|identity|policy)/",
      "^netlink/",
      "^plugin/rule-set\\.ts$",
    ],
    types: ["^enforcer/config/"],
  },
  {
    name: "enforcer/control",
    may: [
      ...leaves,
      "^netlink/",
      "^plugin/rule-set\\.ts$",
      "^enforcer/log\\.ts$",
      "^enforcer/policy/attributes\\.ts$",
    ],
    types: ["^enforcer/(handshake|policy)/"],
  },
  {
    name: "enforcer/telemetry",
    may: [...leaves, "^enforcer/log\\.ts$"],
    types: ["^enforcer/(handshake|policy)/"],
  },
  {
    name: "enforcer/kubernetes",
    may: [...leaves, "^enforcer/log\\.ts$"],
    types: ["^enforcer/(identity|policy)/"],
  },
  // These know everybody else in the product, and nobody knows them.
  {
    name: "enforcer/daemon",
    may: ["^enforcer/", "^netlink/", "^plugin/"],
  },
  {
    name: "enforcer/cli",
    may: ["^enforcer/", "^netlink/", "^plugin/(rule-set|rule-owners|rule-tables|egress-rules)\\.ts$"],
  },
  { name: "conformance", may: ["^netlink/", "^enforcer/control/(messages|lines|requests)\\.ts$"] },
  { name: "test/harness", may: [] },
];

function rules({ name, may, types = [] }) {
  const own = `^${name}/`;
  const forbidden = (suffix, to) => ({
    name: `${name}: ${suffix}`,
    severity: "error",
    from: { path: own },
    to: { path: ours, ...to },
  });
  const all = forbidden("imports what its layer may not", { pathNot: [own, ...may, ...types] });
  if (types.length === 0) return [all];
  const values = forbidden("imports more than types", {
    path: types,
    pathNot: [own, ...may],
    dependencyTypesNot: ["type-only"],
  });
  return [all, values];
}

export default {
  forbidden: [
    ...layers.flatMap(rules),
    {
      name: "only the top knows the top",
      severity: "error",
      from: { path: "^(netlink|plugin|enforcer)/", pathNot: "^enforcer/(main\\.ts$|daemon/|cli/)" },
      to: { path: "^enforcer/(main\\.ts$|daemon/|cli/)" },
    },
    {
      name: "netlink stands alone",
      severity: "error",
      from: { path: "^netlink/" },
      to: { dependencyTypes: ["npm", "npm-dev"] },
    },
    {
      name: "the product knows no test and no build script",
      severity: "error",
      from: { path: "^(netlink|plugin|enforcer)/" },
      to: { path: "^(test|conformance|install)/" },
    },
    {
      name: "no cycle",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^(build|coverage)/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { conditionNames: ["import", "node", "default", "types"] },
  },
};
