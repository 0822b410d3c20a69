/** Owns the grammar of enforcer.yaml as a schema: what may stand where, between which limits, and what holds where nothing stands. */
import { isIPv4, isIPv6 } from "node:net";
import * as z from "zod";
import { containsCidr, parseCidr } from "../policy/addresses.ts";
import { block, choice, fault, integer, list, map, show, text } from "../policy/shape.ts";
import type { ListenAddress } from "./config.ts";

const PORTS_PATTERN = /^([1-9][0-9]{0,4})(?:-([1-9][0-9]{0,4}))?$/;

const cidr = block("10.1.0.0/16 or fd00:1::/48");

const nat64Prefix = cidr
  .superRefine((draft, context) => {
    const parsed = parseCidr(draft);
    if ("error" in parsed) return;
    if (parsed.family === 6 && [32, 40, 48, 56, 64, 96].includes(parsed.prefixLength)) return;
    const message = fault(
      `${draft} cannot be a NAT64 prefix`,
      "write an IPv6 prefix of length 32, 40, 48, 56, 64 or 96",
    );
    context.addIssue({ code: "custom", message });
  })
  .meta({ description: "a NAT64 prefix (RFC 6052), such as 64:ff9b::/96" });

const noPort = ({ input }: { input?: unknown }): string =>
  fault(`${show(input)} is no port`, 'write a port from 1 to 65535, or a range such as "30000-32767"');

const portNumber = z.int({ error: noPort }).min(1, { error: noPort }).max(65535, { error: noPort });
const portRange = z.string({ error: noPort }).refine(isPortRange, { error: noPort });
const ports = z
  .union([portNumber, portRange], { error: noPort })
  .meta({ description: 'a port from 1 to 65535, or a range such as "30000-32767"' });

function isPortRange(draft: string): boolean {
  const { first, last } = readPorts(draft);
  return PORTS_PATTERN.test(draft) && first <= last && last <= 65535;
}

/** The inclusive range of a validated port or `first-last`. */
export function readPorts(draft: number | string): { first: number; last: number } {
  const [, first, last = first] = PORTS_PATTERN.exec(String(draft)) ?? [];
  return { first: Number(first), last: Number(last) };
}

/** Protocols of unmanaged addresses, and their numbers. */
export const unmanagedProtocols = { TCP: 6, UDP: 17, SCTP: 132 } as const;

const unmanaged = map("an address that carries no token: address, and ports and protocol if not all", {
  address: cidr,
  ports: list("a list of one or more ports, or leave ports out for all", ports, 1).optional(),
  protocol: choice("TCP, UDP or SCTP, or leave protocol out for all", ["TCP", "UDP", "SCTP"]).optional(),
});

const networks = map("the managed networks: pods, services, unmanaged, translators, nat64", {
  pods: list("a list of one or more CIDRs of pods", cidr, 1),
  services: list("a list of CIDRs of Services", cidr).default([]),
  unmanaged: list("a list of addresses that carry no token", unmanaged).default([]),
  translators: list("a list of addresses that a source can be rewritten to", cidr).default([]),
  nat64: list("a list of NAT64 prefixes", nat64Prefix).default([]),
}).superRefine((draft, context) => {
  for (const [index, service] of draft.services.entries()) {
    const overlap = draft.pods.find((pod) => overlaps(pod, service));
    if (overlap === undefined) continue;
    const message = fault(
      `${service} overlaps the pod network ${overlap}`,
      "write pods and services as separate networks",
    );
    context.addIssue({ code: "custom", path: ["services", index], message });
  }
});

function overlaps(left: string, right: string): boolean {
  const [one, other] = [parseCidr(left), parseCidr(right)];
  if ("error" in one || "error" in other) return false;
  return containsCidr(one, other) || containsCidr(other, one);
}

const tokens = map("the tokens' times: lifetimeSeconds, clockSkewSeconds", {
  lifetimeSeconds: integer("a number of seconds from 60 to 86400", 60, 86_400).default(600),
  clockSkewSeconds: integer("a number of seconds from 0 to 300", 0, 300).default(60),
}).prefault({});

const MARK_MASK_TEXT = "twelve contiguous bits of 32, such as 0xfff00000";

const markMask = z
  .int({ error: ({ input }) => fault(`${show(input)} is no mark mask`, `write ${MARK_MASK_TEXT}`) })
  .refine(isMarkMask, {
    error: ({ input }) => fault(`${showHex(input)} is no mark mask`, `write ${MARK_MASK_TEXT}`),
  })
  .meta({ description: MARK_MASK_TEXT });

function isMarkMask(mask: number): boolean {
  return Array.from({ length: 21 }, (_, shift) => 0xfff * 2 ** shift).includes(mask);
}

function showHex(value: unknown): string {
  return typeof value === "number" && value >= 0 ? `0x${value.toString(16)}` : show(value);
}

const path = text("an absolute path of at most 4096 characters", /^\/[^\0\n]{0,4095}$/);

/** Linux's sun_path holds 108 bytes with the final zero. */
const socket = text("an absolute path of at most 107 characters", /^\/[\x21-\x7e]{0,106}$/);

const metrics = z
  .string({
    error: () => fault("this is no address to listen on", "write ADDRESS:PORT, such as 127.0.0.1:9477"),
  })
  .refine((draft) => parseListenAddress(draft) !== undefined, {
    error: ({ input }) =>
      fault(
        `${show(input)} is no address to listen on`,
        "write ADDRESS:PORT, such as 127.0.0.1:9477 or [::1]:9477",
      ),
  })
  .meta({ description: "ADDRESS:PORT, such as 127.0.0.1:9477 or [::1]:9477" });

/** Reads `127.0.0.1:9477` or `[::1]:9477`; port 0 lets the kernel choose. */
export function parseListenAddress(draft: string): ListenAddress | undefined {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:]*)):(0|[1-9][0-9]{0,4})$/.exec(draft) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65535) return undefined;
  if (bracketed !== undefined) return isIPv6(bracketed) ? { host: bracketed, port } : undefined;
  return plain !== undefined && isIPv4(plain) ? { host: plain, port } : undefined;
}

/** One limit: a whole number with its default, and bounds that keep the enforcer alive. */
function limit(what: string, fallback: number, minimum: number, maximum: number): z.ZodDefault<z.ZodNumber> {
  return integer(`${what}: a number from ${minimum} to ${maximum}`, minimum, maximum).default(fallback);
}

const limits = map("the limits, each of which has a default", {
  processingUnits: limit("processing units of this node", 1024, 1, 65_536),
  clientHandshakes: limit("pending handshakes of one unit as client", 4096, 16, 1_048_576),
  serverHandshakes: limit("half-open connections of one unit as server", 8192, 16, 1_048_576),
  serverHandshakesPerToken: limit("half-open connections of one unit per peer token", 1024, 4, 1_048_576),
  authorisedRing: limit("connections just authorised, per unit", 4096, 16, 1_048_576),
  heldPackets: limit("packets held for verification, per queue", 64, 1, 4096),
  heldMs: limit("milliseconds that a packet may be held", 200, 1, 5000),
  handshakeMs: limit("milliseconds that a handshake may take", 75_000, 1000, 300_000),
  verificationsPerSecond: limit("asymmetric operations a second", 2000, 1, 1_000_000),
  verificationsPerSourcePerSecond: limit("asymmetric operations a second for one source", 50, 1, 1_000_000),
  cachedIdentities: limit("cached identities of peers", 16_384, 16, 1_048_576),
  cachedFailures: limit("cached failures of verification", 4096, 16, 1_048_576),
  cachedPairs: limit("cached pair keys", 32_768, 16, 1_048_576),
  resetsPerSecond: limit("resets sent a second, per unit", 100, 0, 100_000),
  queueLength: limit("length of each kernel queue, in packets", 1024, 16, 65_536),
  flowRecords: limit("flow records kept", 10_000, 0, 1_000_000),
}).prefault({});

/** What may stand as `node`. */
export const nodeName = text(
  "a name of letters, digits, '-', '_' and '.', at most 253, beginning with a letter or digit",
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/,
);

/** The whole file. `node` has its default, the host's name, from the caller. */
export const configFileSchema = map(
  "the enforcer's configuration: version: 1, mode, trustDomain, networks and more",
  {
    version: z.literal(1, { error: () => fault("this is no version that we know", "write version: 1") }),
    mode: choice("mode: pki (keys certified by a CA) or psk (one pre-shared key)", ["pki", "psk"]),
    trustDomain: text(
      "a trust domain such as cluster.local: letters, digits, '-' and '.', at most 253",
      /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/,
    ),
    node: nodeName.optional(),
    networks,
    tokens,
    markMask: markMask.default(0xfff00000),
    socket: socket.default("/run/trireme/enforcer.sock"),
    state: path.default("/run/trireme/state"),
    policy: path.default("/etc/trireme/policy.yaml"),
    keys: path.default("/etc/trireme/keys"),
    metrics: metrics.optional(),
    logLevel: choice("debug, info, warn or error", ["debug", "info", "warn", "error"]).default("info"),
    logFormat: choice("text or json", ["text", "json"]).default("text"),
    limits,
  },
);

export type ConfigFile = z.infer<typeof configFileSchema>;

/** What flags may override, by the same rules as in the file. */
export const flagSchemas = {
  socket,
  state: path,
  policy: path,
  keys: path,
  metrics,
  logLevel: configFileSchema.shape.logLevel.unwrap(),
  logFormat: configFileSchema.shape.logFormat.unwrap(),
} as const;
