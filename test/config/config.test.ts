import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ConfigFlags, type ConfigResult, loadConfig } from "../../enforcer/config/config.ts";

const minimal = `version: 1
mode: pki
trustDomain: cluster.local
networks:
  pods: [10.1.0.0/16]
`;

const load = (text: string, flags: ConfigFlags = {}): ConfigResult =>
  loadConfig(text, flags, "host-a", "e.yaml");

/** Line, subject and remedy of every problem. */
function problemsOf(text: string, flags: ConfigFlags = {}): [number, string, string][] {
  const result = load(text, flags);
  return result.ok ? [] : result.problems.map(({ line, subject, remedy }) => [line, subject, remedy]);
}

describe("a valid configuration", () => {
  it("has every default", () => {
    expect(load(minimal)).toEqual({
      ok: true,
      config: {
        version: 1,
        mode: "pki",
        trustDomain: "cluster.local",
        node: "host-a",
        networks: { pods: ["10.1.0.0/16"], services: [], unmanaged: [], translators: [], nat64: [] },
        tokens: { lifetimeSeconds: 600, clockSkewSeconds: 60 },
        markMask: 0xfff00000,
        socket: "/run/trireme/enforcer.sock",
        state: "/run/trireme/state",
        policy: "/etc/trireme/policy.yaml",
        keys: "/etc/trireme/keys",
        metrics: undefined,
        logLevel: "info",
        logFormat: "text",
        limits: {
          processingUnits: 1024,
          clientHandshakes: 4096,
          serverHandshakes: 8192,
          serverHandshakesPerToken: 1024,
          authorisedRing: 4096,
          heldPackets: 64,
          heldMs: 200,
          handshakeMs: 75_000,
          verificationsPerSecond: 2000,
          verificationsPerSourcePerSecond: 50,
          cachedIdentities: 16_384,
          cachedFailures: 4096,
          cachedPairs: 32_768,
          resetsPerSecond: 100,
          queueLength: 1024,
          flowRecords: 10_000,
        },
      },
    });
  });

  it("says everything", () => {
    const result = load(`version: 1
mode: psk
trustDomain: example.org
node: node-1
networks:
  pods: [10.1.0.0/16, "fd00:1::/48"]
  services: [10.96.0.0/12]
  unmanaged:
    - address: 10.1.0.1
    - { address: 10.96.0.1, ports: [443, "8000-8010"], protocol: TCP }
  translators: [10.1.0.1]
  nat64: ["64:ff9b::/96"]
tokens: { lifetimeSeconds: 120 }
markMask: 0x000fff00
metrics: "[::1]:9477"
logLevel: debug
logFormat: json
limits: { queueLength: 2048 }
`);
    expect(result).toMatchObject({
      ok: true,
      config: {
        mode: "psk",
        node: "node-1",
        networks: {
          unmanaged: [
            { address: "10.1.0.1" },
            {
              address: "10.96.0.1",
              ports: [
                { first: 443, last: 443 },
                { first: 8000, last: 8010 },
              ],
              protocol: 6,
            },
          ],
          nat64: ["64:ff9b::/96"],
        },
        tokens: { lifetimeSeconds: 120, clockSkewSeconds: 60 },
        markMask: 0x000fff00,
        metrics: { host: "::1", port: 9477 },
        logLevel: "debug",
        logFormat: "json",
        limits: { queueLength: 2048, heldMs: 200 },
      },
    });
  });
});

describe("flags", () => {
  it("override the file", () => {
    const flags = {
      socket: "/tmp/s",
      state: "/tmp/r",
      policy: "/tmp/p",
      keys: "/tmp/k",
      metrics: "127.0.0.1:0",
      logLevel: "warn",
      logFormat: "json",
    };
    expect(load(`${minimal}socket: /run/other.sock\n`, flags)).toMatchObject({
      ok: true,
      config: { ...flags, metrics: { host: "127.0.0.1", port: 0 } },
    });
  });

  it("that are absent override nothing", () => {
    const flags = { socket: undefined } as unknown as ConfigFlags;
    expect(load(`${minimal}socket: /run/other.sock\n`, flags)).toMatchObject({
      config: { socket: "/run/other.sock" },
    });
  });

  it("are held to the file's rules", () => {
    expect(problemsOf(minimal, { socket: "relative", logLevel: "loud" })).toEqual([
      [1, "--socket", "write an absolute path of at most 107 characters"],
      [1, "--log-level", "write debug, info, warn or error"],
    ]);
  });
});

describe("a wrong value says what to write", () => {
  const cases: [string, [number, string, string][]][] = [
    ["", [[1, "", "write the enforcer's configuration: version: 1, mode, trustDomain, networks and more"]]],
    [minimal.replace("version: 1\n", ""), [[1, "version", "write version: 1"]]],
    [
      minimal.replace("mode: pki", "mode: tls"),
      [[2, "mode", "write mode: pki (keys certified by a CA) or psk (one pre-shared key)"]],
    ],
    [
      minimal.replace("cluster.local", '"a b"'),
      [
        [
          3,
          "trustDomain",
          "write a trust domain such as cluster.local: letters, digits, '-' and '.', at most 253",
        ],
      ],
    ],
    [
      minimal.replace("  pods: [10.1.0.0/16]", "  pods: []"),
      [[5, "networks.pods", "write a list of one or more CIDRs of pods"]],
    ],
    [minimal.replace("10.1.0.0/16", "10.1.2.0/16"), [[5, "networks.pods[0]", "write 10.1.0.0/16"]]],
    [
      minimal.replace("10.1.0.0/16", "010.1.0.0/16"),
      [
        [
          5,
          "networks.pods[0]",
          "write an IPv4 or IPv6 address without leading zeros, such as 10.0.0.0/8 or fd00::/8",
        ],
      ],
    ],
    [
      `${minimal}  services: [10.1.3.0/24]\n`,
      [[6, "networks.services[0]", "write pods and services as separate networks"]],
    ],
    [`${minimal}  nat64: ["64:ff9b::/31"]\n`, [[6, "networks.nat64[0]", "write 64:ff9a::/31"]]],
    [
      `${minimal}  nat64: ["64:ff9b::/100"]\n`,
      [[6, "networks.nat64[0]", "write an IPv6 prefix of length 32, 40, 48, 56, 64 or 96"]],
    ],
    [
      `${minimal}  unmanaged: [{ address: 10.1.0.1, ports: [0] }]\n`,
      [
        [
          6,
          "networks.unmanaged[0].ports[0]",
          'write a port from 1 to 65535, or a range such as "30000-32767"',
        ],
      ],
    ],
    [
      `${minimal}  unmanaged: [{ address: 10.1.0.1, ports: ["90-80"] }]\n`,
      [
        [
          6,
          "networks.unmanaged[0].ports[0]",
          'write a port from 1 to 65535, or a range such as "30000-32767"',
        ],
      ],
    ],
    [
      `${minimal}markMask: 0xff0f0000\n`,
      [[6, "markMask", "write twelve contiguous bits of 32, such as 0xfff00000"]],
    ],
    [
      `${minimal}tokens: { lifetimeSeconds: 1 }\n`,
      [[6, "tokens.lifetimeSeconds", "write a number of seconds from 60 to 86400"]],
    ],
    [`${minimal}metrics: 9477\n`, [[6, "metrics", "write ADDRESS:PORT, such as 127.0.0.1:9477"]]],
    [
      `${minimal}metrics: localhost:9477\n`,
      [[6, "metrics", "write ADDRESS:PORT, such as 127.0.0.1:9477 or [::1]:9477"]],
    ],
    [
      `${minimal}limits: { queueLength: 1 }\n`,
      [[6, "limits.queueLength", "write length of each kernel queue, in packets: a number from 16 to 65536"]],
    ],
    [`${minimal}sokcet: /run/x\nmode: psk\n`, [[7, "", "remove it"]]],
    [
      `${minimal}sokcet: /run/x\n`,
      [
        [
          6,
          "",
          "use only version, mode, trustDomain, node, networks, tokens, markMask, socket, state, policy, keys, metrics, logLevel, logFormat, limits",
        ],
      ],
    ],
  ];
  it.each(cases)("%j", (text, expected) => {
    expect(problemsOf(text)).toEqual(expected);
  });

  it("all of them at once", () => {
    const text = minimal.replace("pki", "tls").replace("10.1.0.0/16", "10.1.0.0/33");
    expect(problemsOf(`${text}logLevel: loud\n`).map(([line, subject]) => [line, subject])).toEqual([
      [2, "mode"],
      [5, "networks.pods[0]"],
      [6, "logLevel"],
    ]);
  });

  it("where the host's name cannot be the node's", () => {
    const result = loadConfig(minimal, {}, "bad name", "e.yaml");
    expect(result).toMatchObject({ ok: false, problems: [{ subject: "node" }] });
  });
});

it("never throws", () => {
  const part = fc.constantFrom(
    ...minimal.split(/(?<=[\s:[\],])/),
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "!!set ",
    "? ",
    "|\n",
    '"',
    "'",
    "{",
    "}",
    "#",
    "\t",
    "0x",
    "~",
  );
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(part, { maxLength: 40 }).map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(text, (one) => {
      const result = load(one);
      expect(result.ok ? 1 : result.problems.length).toBeGreaterThan(0);
    }),
    { numRuns: 300 },
  );
});
