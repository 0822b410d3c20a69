/** Segments of an honest handshake, altered on the way between two enforcers that want to talk. */
import { flip, type Segment } from "../../handshake/segments.ts";
import type { Attack } from "../attack.ts";
import type { Field } from "../field.ts";
import { between, isSyn, isSynAck, isTagged } from "../forged-ends.ts";
import type { Which } from "../mallory.ts";

type Change = (segment: Segment) => Partial<Segment>;

/** The client dials the server, as it may, and on the way every segment of a kind is changed. */
export function changing(direction: "to-server" | "to-client", which: Which, change: Change): Attack["run"] {
  return async ({ mallory, client, newPort, serverPlace }: Field, word) => {
    const localPort = newPort();
    const clientPlace = { address: client.address, port: localPort };
    const isTheirs =
      direction === "to-server" ? between(clientPlace, serverPlace) : between(serverPlace, clientPlace);
    const changed = mallory.alter((segment) => isTheirs(segment) && which(segment), change);
    client.dial({ host: serverPlace.address, port: serverPlace.port, localPort, say: word });
    await changed.next();
  };
}

/** In the nonce: which one is right only the tags tell. */
const flipNonce: Change = ({ data }) => ({ data: flip(data, 20) });

export const altered: readonly Attack[] = [
  {
    name: "altered SYN",
    patch: "transcript-without-syn",
    stopped: { by: "client", reason: "tag-invalid" },
    run: changing("to-server", isSyn, flipNonce),
  },
  {
    name: "altered SYN-ACK",
    patch: "transcript-without-syn-ack",
    stopped: { by: "client", reason: "tag-invalid" },
    run: changing("to-client", isSynAck, flipNonce),
  },
  {
    name: "altered ACK",
    patch: "tag-c-not-compared",
    stopped: { by: "server", reason: "tag-invalid" },
    run: changing("to-server", isTagged, ({ options }) => ({
      options: options.replace(/fd147472.{32}/, `fd147472${"5a".repeat(16)}`),
    })),
  },
];
