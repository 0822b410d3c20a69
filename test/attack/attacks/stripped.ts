/** Handshakes without a message, with a message of the other mode, on a connection that is over, and with data where none belongs. */
import { randomBytes } from "node:crypto";
import { execOk } from "../../harness/lab.ts";
import type { Attack } from "../attack.ts";
import { FAST_OPEN_PORT, MALLORY, type Field } from "../field.ts";
import { encodedSyn, encodedSynAck, ForgedClient, synAckDefaults, synAckOf, synOf } from "../forged-ends.ts";
import { agreeByPsk, pskToken, tagC, tagS } from "../insider.ts";
import { answering } from "./reflected.ts";
import { record } from "./replayed.ts";

/** An extension that nobody has to know: its bytes are behind all others of the message. */
function extension(text: string): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt16BE(0x0100, 0);
  header.writeUInt16BE(text.length, 2);
  return Buffer.concat([header, Buffer.from(text)]);
}

/** A SYN of the client's that was recorded, sent from a port where the client knows of nothing. */
async function replaySyn(field: Field, change: (data: Buffer) => Buffer): Promise<ForgedClient> {
  const { syn } = await record(field);
  const place = { address: field.client.address, port: field.newPort() };
  const forged = new ForgedClient(field.mallory, place, field.serverPlace);
  forged.syn(change(syn.data));
  return forged;
}

export const stripped: readonly Attack[] = [
  {
    name: "payload stripped from a SYN",
    patch: "plain-syn-by-address",
    stopped: { by: "server", reason: "token-missing" },
    run: async (field, word) => {
      const forged = await replaySyn(field, () => Buffer.alloc(0));
      forged.say(await forged.synAck(), word);
    },
  },
  {
    name: "payload stripped from a SYN-ACK",
    patch: "plain-syn-ack-accepted",
    stopped: { by: "client", reason: "token-missing" },
    run: answering(() => Buffer.alloc(0)),
  },
  {
    name: "a PSK message to an end that demands PKI",
    patch: "suite-of-the-message",
    stopped: { by: "server", reason: "suite-unsupported" },
    run: async (field, word) => {
      const from = { address: MALLORY, port: field.newPort() };
      const forged = new ForgedClient(field.mallory, from, field.serverPlace);
      const token = pskToken(field.oldPsk, { app: "web" });
      const syn = encodedSyn({ token, suites: 2 });
      forged.syn(syn);
      const answer = await forged.synAck();
      const keys = agreeByPsk(field.oldPsk, token, synAckOf(answer).token);
      forged.say(answer, word, tagC(keys, { syn, synAck: answer.data }));
    },
  },
  {
    name: "a PSK answer to an end that demands PKI",
    patch: "suite-of-the-message",
    stopped: { by: "client", reason: "suite-unsupported" },
    run: answering(({ oldPsk }, syn) => {
      const token = pskToken(oldPsk, { app: "db" });
      const answer = { ...synAckDefaults(syn), suite: 2, token };
      const keys = agreeByPsk(oldPsk, synOf(syn).token, token);
      return encodedSynAck({ ...answer, tag: tagS(keys, { syn: syn.data, synAck: encodedSynAck(answer) }) });
    }),
  },
  {
    name: "a marked 4-tuple used again",
    patch: "mark-outlives-connection",
    stopped: { by: "server", reason: "tag-missing" },
    inPlace: async ({ server }) => {
      const list = ["nft", "list", "chain", "inet", "trireme", "out"];
      const rules = (await execOk(server.pod.namespace, list)).split("\n");
      return !rules.some((rule) => rule.includes("ct mark set") && rule.includes("queue"));
    },
    run: async (field, word) => {
      // After the server's RST its connection tracking keeps the entry, and with it the mark.
      const { client, syn } = await record(field, "server");
      const forged = new ForgedClient(field.mallory, client, field.serverPlace);
      forged.syn(syn.data);
      forged.say(await forged.synAck(), word);
    },
  },
  {
    name: "data in a SYN",
    patch: "syn-data-delivered",
    stopped: { by: "server", reason: "tag-missing" },
    run: async (field, word) => {
      const message = synOf((await record(field)).syn);
      const place = { address: field.client.address, port: field.newPort() };
      const to = { ...field.serverPlace, port: FAST_OPEN_PORT };
      const forged = new ForgedClient(field.mallory, place, to);
      forged.syn(encodedSyn({ ...message, nonce: randomBytes(16), extensions: extension(word) }));
      forged.say(await forged.synAck(), "");
    },
  },
];
