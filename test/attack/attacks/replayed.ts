/** Segments of an honest handshake that were recorded, sent once more. */
import type { Segment } from "../../handshake/segments.ts";
import type { Attack } from "../attack.ts";
import { PORT, type Field } from "../field.ts";
import {
  between,
  ForgedClient,
  ForgedServer,
  isSyn,
  isSynAck,
  isTagged,
  tagOf,
  type Place,
} from "../forged-ends.ts";

export interface Recording {
  readonly client: Place;
  readonly syn: Segment;
  readonly synAck: Segment;
  readonly ack: Segment;
}

/** Watches the client connect, as it may; the connection is over when this returns: by a RST of the client's, or of the server's. */
export async function record(field: Field, endedBy: "client" | "server" = "client"): Promise<Recording> {
  const { mallory, client, server, serverPlace } = field;
  const place = { address: client.address, port: field.newPort() };
  const out = mallory.watch(between(place, serverPlace));
  const back = mallory.watch(between(serverPlace, place));
  const dialled = client.dial({ host: serverPlace.address, port: PORT, localPort: place.port });
  const recording = {
    client: place,
    syn: await out.next(isSyn),
    synAck: await back.next(isSynAck),
    ack: await out.next(isTagged),
  };
  await client.connected(dialled);
  await server.accepted(place.port);
  field[endedBy].end();
  await (endedBy === "client" ? out : back).next(({ flags }) => (flags & 4) !== 0);
  return recording;
}

export const replayed: readonly Attack[] = [
  {
    name: "replayed SYN",
    patch: "ack-without-tag",
    stopped: { by: "server", reason: "tag-missing" },
    run: async (field, word) => {
      const { syn } = await record(field);
      const place = { address: field.client.address, port: field.newPort() };
      const forged = new ForgedClient(field.mallory, place, field.serverPlace);
      forged.syn(syn.data);
      forged.say(await forged.synAck(), word);
    },
  },
  {
    name: "replayed SYN-ACK",
    patch: "client-nonce-not-fresh",
    stopped: { by: "client", reason: "tag-invalid" },
    run: async (field, word) => {
      const { mallory, client, serverPlace } = field;
      const old = await record(field);
      const forged = new ForgedServer(mallory, serverPlace, old.client);
      client.dial({ host: serverPlace.address, port: PORT, localPort: old.client.port });
      const syn = await forged.syn();
      forged.answer(syn, old.synAck.data, word);
    },
  },
  {
    name: "replayed ACK",
    patch: "server-nonce-not-fresh",
    stopped: { by: "server", reason: "tag-invalid" },
    run: async (field, word) => {
      const old = await record(field);
      const forged = new ForgedClient(field.mallory, old.client, field.serverPlace);
      forged.syn(old.syn.data, old.syn.options);
      forged.say(await forged.synAck(), word, tagOf(old.ack));
    },
  },
];
