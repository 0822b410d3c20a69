/** Tokens that are stolen, or say what they may not, presented to either end with whatever proof the attacker can make. */
import { randomBytes } from "node:crypto";
import type { Reason } from "../../../enforcer/reason.ts";
import type { Attack } from "../attack.ts";
import { MALLORY, PORT, type Field } from "../field.ts";
import {
  between,
  encodedSyn,
  encodedSynAck,
  ForgedClient,
  isSyn,
  synAckDefaults,
  synAckOf,
  synOf,
} from "../forged-ends.ts";
import {
  agree,
  publicKeyOf,
  tagC,
  tagS,
  trustDomain,
  type CertificateWishes,
  type Identity,
  type TokenWishes,
} from "../insider.ts";
import { answering } from "./reflected.ts";
import { record } from "./replayed.ts";

type Make = (field: Field, attributes: Readonly<Record<string, string>>) => Identity;

/** Mallory dials the server as whoever its token says. */
function asClient(make: Make): Attack["run"] {
  return async (field, word) => {
    const identity = make(field, { app: "web" });
    const from = { address: MALLORY, port: field.newPort() };
    const forged = new ForgedClient(field.mallory, from, field.serverPlace);
    const syn = encodedSyn(identity);
    forged.syn(syn);
    const answer = await forged.synAck();
    const keys = agree(identity, "client", synAckOf(answer).token);
    forged.say(answer, word, tagC(keys, { syn, synAck: answer.data }));
  };
}

/** The client dials the server, and Mallory answers as whoever its token says. */
function asServer(make: Make): Attack["run"] {
  return answering((field, syn) => {
    const identity = make(field, { app: "db" });
    const { token, certificates } = identity;
    const answer = { ...synAckDefaults(syn), token, certificates };
    const keys = agree(identity, "server", synOf(syn).token);
    return encodedSynAck({ ...answer, tag: tagS(keys, { syn: syn.data, synAck: encodedSynAck(answer) }) });
  });
}

/** The same against either end. */
function bothEnds(name: string, patch: string, reason: Reason, make: Make): Attack[] {
  return [
    { name: `${name}, as client`, patch, stopped: { by: "server", reason }, run: asClient(make) },
    { name: `${name}, as server`, patch, stopped: { by: "client", reason }, run: asServer(make) },
  ];
}

const wishing =
  (token: TokenWishes, certificate?: CertificateWishes): Make =>
  ({ insider }, attributes) => ({
    ...insider.token({
      attributes,
      ...token,
      ...(certificate === undefined ? {} : { certificate: insider.certificate(certificate) }),
    }),
    trustDomain: certificate?.trustDomain ?? trustDomain,
  });

const MINUTE_S = 60;

export const tokens: readonly Attack[] = [
  {
    name: "a token from another PU, as client",
    patch: "tag-c-not-compared",
    stopped: { by: "server", reason: "tag-invalid" },
    run: async (field, word) => {
      const { token, certificates } = synOf((await record(field)).syn);
      const own = field.insider.token();
      await asClient(() => ({ ...own, token, certificates }))(field, word);
    },
  },
  {
    name: "a token from another PU, as server",
    patch: "tag-s-not-compared",
    stopped: { by: "client", reason: "tag-invalid" },
    run: async (field, word) => {
      const { token, certificates } = synAckOf((await record(field)).synAck);
      const own = field.insider.token();
      await asServer(() => ({ ...own, token, certificates }))(field, word);
    },
  },
  {
    name: "a token whose key the attacker doesn't hold: a random tag",
    patch: "tag-c-not-compared",
    stopped: { by: "server", reason: "tag-invalid" },
    run: async (field, word) => {
      const { token, certificates } = synOf((await record(field)).syn);
      const place = { address: field.client.address, port: field.newPort() };
      const forged = new ForgedClient(field.mallory, place, field.serverPlace);
      forged.syn(encodedSyn({ token, certificates }));
      forged.say(await forged.synAck(), word, randomBytes(16));
    },
  },
  {
    name: "another's public key inside one's own token",
    patch: "keys-without-tokens",
    stopped: { by: "client", reason: "tag-invalid" },
    // The guest, whom the server wouldn't have, is let in as somebody else.
    run: async ({ mallory, insider, guest, serverPlace, newPort }, word) => {
      const place = { address: guest.address, port: newPort() };
      const isTheirs = between(place, serverPlace);
      const changed = mallory.alter(
        (segment) => isTheirs(segment) && isSyn(segment),
        (segment) => {
          const message = synOf(segment);
          const publicKey = publicKeyOf(message.token);
          return {
            data: encodedSyn({ ...message, ...insider.token({ attributes: { app: "web" }, publicKey }) }),
          };
        },
      );
      guest.dial({ host: serverPlace.address, port: PORT, localPort: place.port, say: word });
      await changed.next();
    },
  },
  ...bothEnds(
    "an expired token",
    "expiry-not-checked",
    "token-expired",
    wishing({ from: -20 * MINUTE_S, until: -10 * MINUTE_S }),
  ),
  ...bothEnds(
    "a token that isn't valid yet",
    "issue-time-not-checked",
    "token-not-yet-valid",
    wishing({ from: 10 * MINUTE_S, until: 20 * MINUTE_S }),
  ),
  ...bothEnds(
    "a token of another trust domain",
    "trust-domain-not-checked",
    "certificate-trust-domain",
    wishing({}, { trustDomain: "evil.example" }),
  ),
  ...bothEnds(
    "a certificate under another node's name",
    "node-not-checked",
    "token-attributes",
    wishing({ node: "node-a" }),
  ),
  ...bothEnds(
    "a certificate beyond what it may assert",
    "assertions-not-checked",
    "token-attributes",
    wishing({}, { assert: ["@node=node-m"] }),
  ),
  ...bothEnds(
    "a certificate that has ended",
    "certificate-times-not-checked",
    "certificate-expired",
    wishing({}, { from: -120 * MINUTE_S, until: -10 * MINUTE_S }),
  ),
];
