/** What one end said, held out to it, or to the other, as the other's own. */
import type { Segment } from "../../handshake/segments.ts";
import type { Attack } from "../attack.ts";
import { PORT, type Field } from "../field.ts";
import {
  encodedSynAck,
  ForgedClient,
  ForgedServer,
  synAckDefaults,
  synAckOf,
  synOf,
  tagOf,
} from "../forged-ends.ts";
import { record } from "./replayed.ts";

/** Dials the server for the client; in its place Mallory answers what `answer` makes of the SYN, and goes on with the word. */
export function answering(answer: (field: Field, syn: Segment) => Promise<Buffer> | Buffer): Attack["run"] {
  return async (field, word) => {
    const { mallory, client, serverPlace } = field;
    const place = { address: client.address, port: field.newPort() };
    const forged = new ForgedServer(mallory, serverPlace, place);
    client.dial({ host: serverPlace.address, port: PORT, localPort: place.port });
    const syn = await forged.syn();
    forged.answer(syn, await answer(field, syn), word);
  };
}

export const reflected: readonly Attack[] = [
  {
    name: "reflected SYN: its own payload as the answer",
    patch: "message-of-any-type",
    stopped: { by: "client", reason: "message-type" },
    run: answering((_, syn) => syn.data),
  },
  {
    name: "reflected SYN: its own token in a made-up answer",
    patch: "tag-s-not-compared",
    stopped: { by: "client", reason: "tag-invalid" },
    run: answering((_, syn) => {
      const { token, certificates } = synOf(syn);
      return encodedSynAck({ ...synAckDefaults(syn), token, certificates });
    }),
  },
  {
    name: "reflected SYN-ACK: its tag S as tag C",
    patch: "one-key-for-both-roles",
    stopped: { by: "server", reason: "tag-invalid" },
    run: async (field, word) => {
      const { syn } = await record(field);
      const place = { address: field.client.address, port: field.newPort() };
      const forged = new ForgedClient(field.mallory, place, field.serverPlace);
      forged.syn(syn.data);
      const answer = await forged.synAck();
      forged.say(answer, word, synAckOf(answer).tag);
    },
  },
  {
    name: "reflected ACK: its tag C as tag S",
    patch: "tag-s-not-compared",
    stopped: { by: "client", reason: "tag-invalid" },
    run: async (field, word) => {
      const old = await record(field);
      const { token, certificates } = synAckOf(old.synAck);
      const tag = tagOf(old.ack) ?? Buffer.alloc(16);
      await answering((_, syn) => encodedSynAck({ ...synAckDefaults(syn), token, certificates, tag }))(
        field,
        word,
      );
    },
  },
];
