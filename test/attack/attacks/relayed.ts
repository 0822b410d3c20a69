/** A handshake that the client makes with Mallory, who makes it with the server from an address of its own. */
import type { Attack } from "../attack.ts";
import { MALLORY, NODE_PORT, type Field } from "../field.ts";
import { ForgedClient, ForgedServer, tagOf, type Place } from "../forged-ends.ts";

/** What the server authorises as the client's is what Mallory says. */
function relaying(serverAsSeen: (field: Field) => Place): Attack["run"] {
  return async (field, word) => {
    const { mallory, client } = field;
    const dialled = { address: MALLORY, port: field.newPort() };
    const place = { address: client.address, port: field.newPort() };
    const near = new ForgedServer(mallory, dialled, place);
    client.dial({ host: dialled.address, port: dialled.port, localPort: place.port });
    const syn = await near.syn();
    const far = new ForgedClient(mallory, { address: MALLORY, port: field.newPort() }, serverAsSeen(field));
    far.syn(syn.data);
    const answer = await far.synAck();
    near.answer(syn, answer.data);
    far.say(answer, word, tagOf(await near.tagged()));
  };
}

export const relayed: readonly Attack[] = [
  {
    name: "relay through a third pod",
    patch: "addresses-not-checked",
    stopped: { by: "client", reason: "address-relayed" },
    run: relaying(({ serverPlace }) => serverPlace),
  },
  {
    name: "relay through a translator (NodePort)",
    patch: "translated-from-anywhere",
    stopped: { by: "client", reason: "address-relayed" },
    run: relaying(({ server }) => ({ address: server.pod.node.address, port: NODE_PORT })),
  },
];
