/** Owns how `trireme policy test` is asked: FROM and TO as text. */
import { formatAddress, parseAddress } from "../policy/addresses.ts";
import { formatAttributes, parseAttributes } from "../policy/attributes.ts";
import type { ConnectionQuestion, Endpoint } from "../policy/both-ends.ts";
import { protocolNames } from "../policy/policy-schema.ts";

const protocols: ReadonlyMap<string, number> = new Map(
  Object.entries(protocolNames).map(([name, number]) => [name.toLowerCase(), number]),
);
const protocolsWithPorts: readonly number[] = [protocolNames.TCP, protocolNames.UDP, protocolNames.SCTP];

interface Mistake {
  readonly error: string;
}

/** Reads FROM (`app=web,tier=front` or an address) and TO (the same with `:PORT`, `:PORT/PROTOCOL` or `/PROTOCOL`). */
export function parseQuestion(fromText: string, toText: string): ConnectionQuestion | Mistake {
  const target = parseTarget(toText);
  if ("error" in target) return target;
  const from = parseEndpoint(fromText);
  if ("error" in from) return { error: `FROM: ${from.error}` };
  const question = { from, ...target };
  const mistake = findMistake(question);
  return mistake === undefined ? question : { error: mistake };
}

function findMistake({ from, to, protocol }: ConnectionQuestion): string | undefined {
  if (from.kind === "address" && to.kind === "address")
    return "FROM and TO are both addresses; write one as attributes, such as app=web";
  if (from.kind === "unit" && to.kind === "unit" && protocol !== protocolNames.TCP) {
    return "only TCP is judged by identity; write the peer's address instead of its attributes";
  }
  return undefined;
}

function parseTarget(text: string): Omit<ConnectionQuestion, "from"> | Mistake {
  const example = "write TO as app=db:5432, 10.0.0.10:53/udp, [fd00::10]:53/udp or 10.0.0.1/icmp";
  const [, endText, portText, protocolText = "tcp"] =
    /^(.*?)(?::([0-9]+))?(?:\/([A-Za-z0-9]+))?$/s.exec(text) ?? [];
  const protocol = protocols.get(protocolText.toLowerCase()) ?? numeric(protocolText, 255);
  if (endText === undefined || protocol === undefined)
    return { error: `TO: no protocol is called ${protocolText}; ${example}` };
  const hasPorts = protocolsWithPorts.includes(protocol);
  const port = portText === undefined ? 0 : numeric(portText, 65535);
  if (port === undefined || hasPorts !== port > 0)
    return {
      error: `TO: ${hasPorts ? "a port from 1 to 65535 is missing" : "this protocol has no port"}; ${example}`,
    };
  if (/^[0-9a-f]*:[^=]*$/i.test(endText))
    return { error: `TO: an IPv6 address stands in brackets; ${example}` };
  const to = parseEndpoint(endText);
  return "error" in to ? { error: `TO: ${to.error}` } : { to, protocol, port };
}

function numeric(text: string, maximum: number): number | undefined {
  return /^[0-9]{1,5}$/.test(text) && Number(text) <= maximum ? Number(text) : undefined;
}

function parseEndpoint(text: string): Endpoint | Mistake {
  if (text.includes("=")) {
    const attributes = parseAttributes(text);
    return "error" in attributes ? { error: attributes.error } : { kind: "unit", attributes };
  }
  const [, bracketed] = /^\[(.*)\]$/.exec(text) ?? [];
  const address = parseAddress(bracketed ?? text);
  if (address !== undefined) return { kind: "address", address };
  return {
    error: `"${text}" is neither attributes (app=web,tier=front) nor an address (10.0.0.1, [fd00::1])`,
  };
}

/** `app=web -> [fd00::10]:53/udp`, for the answer's first line. */
export function formatQuestion({ from, to, protocol, port }: ConnectionQuestion): string {
  const name = [...protocols].find(([, number]) => number === protocol)?.[0] ?? String(protocol);
  return `${formatEndpoint(from)} -> ${formatEndpoint(to)}${port === 0 ? "" : `:${port}`}/${name}`;
}

function formatEndpoint(endpoint: Endpoint): string {
  if (endpoint.kind === "unit") return formatAttributes(endpoint.attributes);
  const text = formatAddress(endpoint.address);
  return text.includes(":") ? `[${text}]` : text;
}
