/** Owns how a decision is shown to operators: from the engine's record to the published document. */
import { attributesDocument, type FlowDocument, type FlowEndDocument } from "../control/operator-messages.ts";
import { formatAddress } from "../policy/addresses.ts";
import type { FlowEnd } from "../handshake/flow-record.ts";
import type { TimedFlow } from "../handshake/packed-flows.ts";

export function flowDocument({ timeMs, record }: TimedFlow): FlowDocument {
  return {
    version: 1,
    time: new Date(timeMs).toISOString(),
    verdict: record.verdict,
    reason: record.reason,
    rule: record.rule ?? null,
    proof: record.proof,
    reporter: record.reporter,
    protocol: record.protocol,
    source: endDocument(record.source),
    destination: endDocument(record.destination),
    latencyUs: record.latencyUs ?? null,
  };
}

function endDocument({ id, attributes, address, port }: FlowEnd): FlowEndDocument {
  const shown = attributes === undefined ? null : attributesDocument(attributes);
  return { id: id ?? null, attributes: shown, address: formatAddress(address), port };
}
