/** Each entry of the "must resist" list, forged against an engine. Source: design, "Must resist"; THREAT-MODEL.md. */
import { createHash, createHmac, createPublicKey, hkdfSync, randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { decodeSyn, decodeSynAck, encodeSyn, encodeSynAck } from "../../enforcer/handshake/messages.ts";
import type { SynAckMessage, SynMessage } from "../../enforcer/handshake/messages.ts";
import { clientTag, serverTag } from "../../enforcer/handshake/proofs.ts";
import { hashSyn, hashSynAck } from "../../enforcer/handshake/transcript.ts";
import { encodeTokenClaims } from "../../enforcer/identity/claims.ts";
import { signCose } from "../../enforcer/identity/cose.ts";
import { cwtCodec } from "../../enforcer/identity/cwt.ts";
import type { OwnToken } from "../../enforcer/identity/identity.ts";
import { rawX25519 } from "../../enforcer/identity/keys.ts";
import { Dialogue, lastDelivered, takeOne } from "./dialogue.ts";
import { EnforcedPod } from "./enforced-pod.ts";
import type { Mode } from "./fixtures.ts";
import { Domain, startWallMs, TestNode, tokenLifetimeMs } from "./fixtures.ts";
import { ACK, alter, flip, readSegment, RST, SYN } from "./segments.ts";

const modes: { mode: Mode }[] = [{ mode: "psk" }, { mode: "pki" }];

function synOf(packet: Buffer): SynMessage {
  const message = decodeSyn(readSegment(packet).data);
  if (typeof message === "string") throw new Error(message);
  return message;
}

function synAckOf(packet: Buffer): SynAckMessage {
  const message = decodeSynAck(readSegment(packet).data);
  if (typeof message === "string") throw new Error(message);
  return message;
}

function withSyn(packet: Buffer, change: Partial<SynMessage>): Buffer {
  const into = Buffer.alloc(4096);
  const length = encodeSyn({ ...synOf(packet), ...change }, into);
  return alter(packet, () => ({ data: into.subarray(0, length) }));
}

function encodeAnswer(message: SynAckMessage): Buffer {
  const into = Buffer.alloc(4096);
  return into.subarray(0, encodeSynAck(message, into));
}

function withSynAck(packet: Buffer, change: Partial<SynAckMessage>): Buffer {
  const data = encodeAnswer({ ...synAckOf(packet), ...change });
  return alter(packet, () => ({ data }));
}

/** Nothing but the judged SYN has reached the server's stack, and it authorised nothing. */
function expectUnauthorised(pod: EnforcedPod): void {
  expect(pod.marked.size).toBe(0);
  expect(
    pod.delivered
      .map(readSegment)
      .every(({ flags, data }) => (flags & (SYN | RST)) !== 0 && data.length === 0),
  ).toBe(true);
}

/** The client still connects once the network is honest. */
function expectConnects(d: Dialogue, synAck: Buffer): void {
  d.server.receive(d.wireAck(synAck));
  expect(d.server.lastCrossing).toMatchObject({ queue: 2, verdict: "accept", mark: "authorised" });
}

describe.each(modes)("$mode: altered", ({ mode }) => {
  test("SYN: every byte counts", () => {
    const d = new Dialogue({ mode });
    const syn = d.wireSyn();
    const length = readSegment(syn).data.length;
    for (let at = 0; at < length; at += 1) {
      const fresh = new EnforcedPod(d.server.node, d.server.unit);
      fresh.receive(alter(syn, ({ data }) => ({ data: flip(data, at) })));
      if (fresh.lastCrossing?.verdict === "drop") continue;
      fresh.send(d.synAck());
      d.client.receive(fresh.sent[0] ?? syn);
      expect(d.client.lastCrossing, `byte ${at}`).toMatchObject({
        queue: 1,
        verdict: "drop",
        reason: "tag-invalid",
      });
      expectUnauthorised(fresh);
    }
  });

  test("SYN-ACK: every byte counts, nothing is refused for it, and the handshake goes on", () => {
    const d = new Dialogue({ mode });
    const synAck = d.wireSynAck(d.wireSyn());
    const length = readSegment(synAck).data.length;
    for (let at = 8; at < length; at += 1) {
      d.client.receive(alter(synAck, ({ data }) => ({ data: flip(data, at) })));
      expect(d.client.lastCrossing, `byte ${at}`).toMatchObject({ queue: 1, verdict: "drop" });
    }
    expect([d.client.delivered, d.client.sent.length]).toEqual([[], 1]);
    expectConnects(d, synAck);
  });

  test("ACK: every bit of the tag counts, and a bad tag changes nothing", () => {
    const d = new Dialogue({ mode });
    const ack = d.wireAck(d.wireSynAck(d.wireSyn()));
    const { options } = readSegment(ack);
    const tagAt = options.indexOf("fd147472") / 2 + 4;
    for (let bit = 0; bit < 128; bit += 1) {
      const forged = Buffer.from(options, "hex");
      forged[tagAt + (bit >> 3)] = (forged[tagAt + (bit >> 3)] ?? 0) ^ (1 << (bit & 7));
      d.server.receive(alter(ack, () => ({ options: forged.toString("hex"), data: Buffer.from("evil") })));
      expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
    }
    expectUnauthorised(d.server);
    d.server.receive(ack);
    expect(d.server.lastCrossing).toMatchObject({ verdict: "accept", mark: "authorised" });
  });
});

describe.each(modes)("$mode: replayed", ({ mode }) => {
  test("a whole recorded conversation gets no further than the SYN", () => {
    const d = new Dialogue({ mode });
    const syn = d.wireSyn();
    const ack = d.wireAck(d.wireSynAck(syn));
    const data = takeOne(d.client, () => d.client.send(d.data("GET")));
    for (const isRestarted of [false, true]) {
      const server = new EnforcedPod(d.server.node, d.server.unit);
      if (!isRestarted) for (const packet of [syn, ack]) server.receive(packet);
      server.marked.clear();
      server.delivered.length = 0;
      server.receive(syn);
      server.send(d.synAck({ seq: d.serverIsn + 99 }));
      for (const packet of [ack, data]) server.receive(packet);
      expect(server.lastCrossing?.verdict).toBe("drop");
      expectUnauthorised(server);
    }
  });

  test("a SYN-ACK of an earlier connection answers no later one", () => {
    const d = new Dialogue({ mode });
    const old = d.wireSynAck(d.wireSyn());
    d.client.restart();
    d.wireSyn();
    d.client.receive(old);
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
    expectUnauthorised(d.client);
  });

  test("an old ACK on a marked 4-tuple that is used again authorises nothing", () => {
    const d = new Dialogue({ mode });
    const syn = d.wireSyn();
    const ack = d.wireAck(d.wireSynAck(syn));
    d.server.receive(ack);
    expect(d.server.marked.size).toBe(1);
    d.server.receive(syn);
    d.server.send(d.synAck({ seq: d.serverIsn + 5 }));
    d.server.delivered.length = 0;
    d.server.receive(ack);
    d.server.receive(d.data("evil"));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-missing" });
    expectUnauthorised(d.server);
  });

  test("the same with syncookies, where the server's ISN comes again too", () => {
    const d = new Dialogue({ mode });
    const syn = d.wireSyn();
    const ack = d.wireAck(d.wireSynAck(syn));
    d.server.receive(ack);
    d.server.receive(syn);
    d.server.send(d.synAck());
    d.server.delivered.length = 0;
    d.server.receive(ack);
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
    expectUnauthorised(d.server);
  });
});

describe.each(modes)("$mode: reflected", ({ mode }) => {
  test("our own SYN as its answer", () => {
    const d = new Dialogue({ mode });
    const { data } = readSegment(d.wireSyn());
    d.client.receive(d.synAck({ data }));
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "message-type" });
    expectUnauthorised(d.client);
  });

  test("our own token in a made-up answer, with every tag that our own segments show", () => {
    const d = new Dialogue({ mode });
    const syn = d.wireSyn();
    const synAck = d.wireSynAck(syn);
    const { token, certificates } = synOf(syn);
    d.client.receive(withSynAck(synAck, { token, certificates }));
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
    expectUnauthorised(d.client);
  });

  test("tag S as tag C, and the other way round", () => {
    const d = new Dialogue({ mode });
    const syn = d.wireSyn();
    const synAck = d.wireSynAck(syn);
    const { tag } = synAckOf(synAck);
    d.server.receive(
      d.ack({ options: `fd147472${Buffer.from(tag).toString("hex")}`, data: Buffer.from("evil") }),
    );
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
    const tagC = Buffer.from(readSegment(d.wireAck(synAck)).options.slice(-32), "hex");
    d.client.send(d.syn());
    d.client.receive(withSynAck(synAck, { tag: tagC }));
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
    expectUnauthorised(d.server);
  });

  test("the same PU at both ends is legitimate: policy decides", () => {
    const d = new Dialogue({ mode });
    const self = new EnforcedPod(d.client.node, d.client.unit);
    const toSelf = { from: "10.1.0.10", fromPort: 7, to: "10.1.0.20", toPort: 80 };
    const syn = takeOne(self, () => self.send(alter(d.syn(), () => toSelf)));
    self.receive(syn);
    const synAck = takeOne(self, () => self.send(d.synAck({ toPort: 7 })));
    self.receive(synAck);
    expect(self.records).toMatchObject([{ verdict: "allow", rule: "web/to-self", proof: "token" }]);
  });
});

describe.each(modes)("$mode: relayed", ({ mode }) => {
  /** The client dials mallory at 10.1.0.66, who relays to the server from an address of its own. */
  const relay = (seenAs: { from: string; fromPort: number }, dialled = { to: "10.1.0.66", toPort: 80 }) => {
    const d = new Dialogue({ mode });
    const syn = takeOne(d.client, () => d.client.send(alter(d.syn(), () => dialled)));
    d.server.receive(alter(syn, () => ({ ...seenAs, to: "10.1.0.20", toPort: 80 })));
    const back = { to: seenAs.from, toPort: seenAs.fromPort };
    const synAck = takeOne(d.server, () => d.server.send(alter(d.synAck(), () => back)));
    d.client.receive(
      alter(synAck, () => ({ from: dialled.to, fromPort: dialled.toPort, to: "10.1.0.10", toPort: 40_000 })),
    );
    return d;
  };

  test.each([
    { name: "through a third pod", seenAs: { from: "10.1.0.66", fromPort: 40_000 } },
    { name: "from a forged port", seenAs: { from: "10.1.0.10", fromPort: 40_001 } },
    { name: "through a translator", seenAs: { from: "10.1.0.254", fromPort: 40_000 } },
    { name: "through an outside address", seenAs: { from: "198.51.100.7", fromPort: 40_000 } },
  ])("$name: refused at both ends, after the tag was verified", ({ seenAs }) => {
    const d = relay(seenAs);
    expect(d.client.records).toMatchObject([{ verdict: "deny", reason: "address-relayed", proof: "token" }]);
    expect(lastDelivered(d.client)).toMatchObject({ flags: RST | ACK });
    expect(readSegment(d.client.sent.at(-1) ?? Buffer.alloc(0)).flags).toBe(RST);
    expectUnauthorised(d.client);
  });

  test.each([
    {
      name: "a Service behind a translator",
      dialled: { to: "10.96.0.50", toPort: 8080 },
      from: "10.1.0.254",
    },
    {
      name: "the very server behind a translator",
      dialled: { to: "10.1.0.20", toPort: 80 },
      from: "192.0.2.1",
    },
    { name: "a Service, seen as sent", dialled: { to: "10.96.0.50", toPort: 8080 }, from: "10.1.0.10" },
  ])("$name is accepted", ({ dialled, from }) => {
    const d = relay({ from, fromPort: from === "10.1.0.10" ? 40_000 : 61_000 }, dialled);
    expect(d.client.records).toMatchObject([{ verdict: "allow", rule: "web/to-app" }]);
    expect(d.client.lastCrossing).toMatchObject({ queue: 1, verdict: "accept", mark: "judged" });
  });

  test.each([
    { name: "a Service", dialled: { to: "10.96.0.50", toPort: 8080 } },
    { name: "the very server", dialled: { to: "10.1.0.20", toPort: 80 } },
  ])("$name, seen from an address that is no translator, is refused", ({ dialled }) => {
    const d = relay({ from: "10.1.0.66", fromPort: 40_000 }, dialled);
    expect(d.client.records).toMatchObject([{ verdict: "deny", reason: "address-relayed" }]);
    expectUnauthorised(d.client);
  });

  test("another port of the server behind a translator is not what was dialled", () => {
    const d = relay({ from: "192.0.2.1", fromPort: 5 }, { to: "10.1.0.20", toPort: 81 });
    expect(d.client.records).toMatchObject([{ verdict: "deny", reason: "address-relayed" }]);
  });
});

describe("stolen and foreign tokens", () => {
  test.each(modes)("$mode: a token whose key the attacker lacks opens nothing", ({ mode }) => {
    const d = new Dialogue({ mode });
    const captured = synOf(d.wireSyn());
    const nonce = randomBytes(16);
    const syn = withSyn(d.wireSyn(), { nonce });
    const synAck = d.wireSynAck(syn);
    const th2 = hashSynAck(hashSyn(readSegment(syn).data), readSegment(synAck).data);
    const guesses = [Buffer.alloc(32), Buffer.from(captured.token.subarray(0, 32)), randomBytes(32)];
    for (const key of guesses) {
      const tag = clientTag(key, th2, synAckOf(synAck).tag).toString("hex");
      d.server.receive(d.ack({ options: `fd147472${tag}`, data: Buffer.from("evil") }));
      expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
    }
    expectUnauthorised(d.server);
  });

  test("a server that shows another PU's token cannot make tag S", () => {
    const d = new Dialogue({ mode: "pki" });
    const victim = new TestNode(d.domain, "node-c").unit("c", { app: "app" });
    const stolen = victim.current as OwnToken;
    const honest = d.wireSynAck(d.wireSyn());
    d.client.receive(withSynAck(honest, { token: stolen.bytes, certificates: stolen.certificates }));
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
    const th2 = hashSynAck(randomBytes(32), readSegment(honest).data);
    const tag = serverTag(Buffer.alloc(32), th2);
    d.client.receive(withSynAck(honest, { token: stolen.bytes, certificates: stolen.certificates, tag }));
    expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
    expectUnauthorised(d.client);
  });

  test("a token of a foreign CA, of another trust domain, and of another PSK is refused", () => {
    for (const foreign of [new Domain("pki"), new Domain("pki", "evil.example"), new Domain("psk")]) {
      const d = new Dialogue({ mode: foreign.mode });
      const node = new TestNode(foreign, "node-x");
      const mallory = new EnforcedPod(node, node.unit("d", { app: "web" }));
      d.server.receive(takeOne(mallory, () => mallory.send(d.syn())));
      expect(d.server.lastCrossing?.verdict).toBe("drop");
      expect(["ca-unknown", "psk-unknown"]).toContain(d.server.lastCrossing?.reason);
      expectUnauthorised(d.server);
    }
  });

  test("a certificate used outside its limits: a node's key under another node's name, or beyond what it may assert", () => {
    const d = new Dialogue({ mode: "pki" });
    const other = d.domain.signer("node-x");
    const narrow = d.domain.signer("node-a", ["@node=node-a"]);
    for (const signer of [{ ...other, node: "node-a" }, narrow]) {
      const subject = { puId: "00000000000000aa", attributes: d.client.unit.attributes };
      const { bytes, certificates } = cwtCodec.minter(signer).mint(subject, d.server.wallMs);
      d.server.receive(withSyn(d.wireSyn(), { token: bytes, certificates }));
      expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "token-attributes" });
    }
    expectUnauthorised(d.server);
  });

  test("another's public key inside one's own token: the tags of that other don't fit", () => {
    const d = new Dialogue({ mode: "pki" });
    const signer = d.domain.signer("node-a");
    const victim = d.client.unit.current;
    if (signer.suite !== 1 || victim?.privateKey === undefined) throw new Error("suite 1 has keys");
    const payload = encodeTokenClaims({
      puId: "00000000000000aa",
      issuedSeconds: startWallMs / 1000,
      expiresSeconds: startWallMs / 1000 + 600,
      attributes: d.client.unit.attributes,
      publicKey: rawX25519(createPublicKey(victim.privateKey)),
      trustDomain: undefined,
    });
    const token = signCose(signer.privateKey, undefined, "trireme-cni token v1", payload);
    const syn = withSyn(d.wireSyn(), { token, certificates: [signer.certificate] });
    const answer = d.wireSynAck(syn);
    const message = synAckOf(answer);
    const { identities } = d.client.node;
    const peer = identities.verify(1, message.token, message.certificates, startWallMs);
    if (!peer.ok) throw new Error(peer.reason);
    const keys = identities.agree(victim, peer.identity, "client");
    if (typeof keys === "string") throw new Error(keys);
    const th2 = hashSynAck(hashSyn(readSegment(syn).data), readSegment(answer).data);
    const tag = clientTag(keys.kC, th2, message.tag).toString("hex");
    d.server.receive(d.ack({ options: `fd147472${tag}` }));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "tag-invalid" });
    expectUnauthorised(d.server);
  });

  test("the same PSK under another trust domain is refused", () => {
    const secret = randomBytes(32);
    const nodeA = new TestNode(new Domain("psk", "evil.example", secret), "node-a");
    const nodeB = new TestNode(new Domain("psk", "cluster.local", secret), "node-b");
    const client = new EnforcedPod(nodeA, nodeA.unit("a", { app: "web" }));
    const server = new EnforcedPod(nodeB, nodeB.unit("b", { app: "app" }));
    server.receive(takeOne(client, () => client.send(new Dialogue().syn())));
    expect(server.lastCrossing).toMatchObject({ verdict: "drop", reason: "token-trust-domain" });
  });

  test.each([
    { name: "expired", skewMs: tokenLifetimeMs + 61_000, reason: "token-expired" },
    { name: "not yet valid", skewMs: -61_000, reason: "token-not-yet-valid" },
  ])("an $name token is refused, by either end; within the skew it is not", ({ skewMs, reason }) => {
    for (const mode of ["psk", "pki"] as const) {
      const d = new Dialogue({ mode });
      const syn = d.wireSyn();
      const late = new EnforcedPod(d.server.node, d.server.unit);
      late.clockSkewMs = skewMs;
      late.receive(syn);
      expect(late.lastCrossing).toMatchObject({ verdict: "drop", reason });
      const synAck = d.wireSynAck(syn);
      d.client.clockSkewMs = skewMs;
      d.client.receive(synAck);
      expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason });
      d.client.clockSkewMs = Math.sign(skewMs) * 50_000;
      expectConnects(d, synAck);
    }
  });
});

describe.each(modes)("$mode: trust that ended in mid-handshake", ({ mode }) => {
  const endings = [
    [
      "its key",
      (d: Dialogue): void => {
        d.server.node.identities.replaceTrust(new Domain(mode).trust());
      },
    ],
    [
      "its time",
      (d: Dialogue): void => {
        d.server.clockSkewMs = tokenLifetimeMs + 61_000;
      },
    ],
  ] as const;

  test.each(endings)("%s: the ACK authorises nothing, and both ends learn of it", (_, end) => {
    const d = new Dialogue({ mode });
    const ack = d.wireAck(d.wireSynAck(d.wireSyn()));
    end(d);
    d.server.receive(ack);
    expect(d.server.records.at(-1)).toMatchObject({ verdict: "deny", proof: "token" });
    expect(d.server.delivered.map(readSegment).at(-1)?.flags).toBe(RST | ACK);
    expectUnauthorised(d.server);
  });
});

describe("downgrade and mixing", () => {
  test.each([
    { name: "no common version", change: { versionMin: 2, versionMax: 3 }, reason: "version-unsupported" },
    { name: "no common suite", change: { suites: 4 }, reason: "suite-unsupported" },
    { name: "an unknown flag", change: { flags: 1 }, reason: "flags-unknown" },
    {
      name: "a critical extension",
      change: { extensions: Buffer.from("80010000", "hex") },
      reason: "extension-unknown",
    },
  ])("a SYN with $name is refused", ({ change, reason }) => {
    const d = new Dialogue();
    d.server.receive(withSyn(d.wireSyn(), change));
    expect(d.server.lastCrossing).toMatchObject({ queue: 0, verdict: "drop", reason });
  });

  test.each([
    { name: "more versions", change: { versionMax: 9 } },
    { name: "more suites", change: { suites: 7 } },
    { name: "an extension", change: { extensions: Buffer.from("00010000", "hex") } },
    { name: "another window", change: { window: 1 } },
  ])("a SYN to which somebody added $name is answered, and its client drops the answer", ({ change }) => {
    const d = new Dialogue();
    const honest = d.wireSyn();
    const synAck = d.wireSynAck(withSyn(honest, change));
    d.client.receive(synAck);
    expect(d.client.lastCrossing).toMatchObject({ queue: 1, verdict: "drop", reason: "tag-invalid" });
    expectConnects(d, d.wireSynAck(honest));
  });

  test.each([
    { name: "another suite", change: { suite: 1 }, reason: "suite-unsupported" },
    { name: "a flag", change: { flags: 0x8000 }, reason: "flags-unknown" },
    { name: "another version", change: { version: 2 }, reason: "version-unsupported" },
  ])("an answer with $name is dropped, and the handshake goes on", ({ change, reason }) => {
    const d = new Dialogue();
    const synAck = d.wireSynAck(d.wireSyn());
    d.client.receive(withSynAck(synAck, change));
    expect(d.client.lastCrossing).toMatchObject({ queue: 1, verdict: "drop", reason });
    expectConnects(d, synAck);
  });

  test("PSK and PKI messages don't mix, in either direction", () => {
    for (const [mode, other] of [
      ["psk", "pki"],
      ["pki", "psk"],
    ] as const) {
      const d = new Dialogue({ mode });
      const foreign = new Dialogue({ mode: other });
      d.server.receive(foreign.wireSyn());
      expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "suite-unsupported" });
      d.wireSyn();
      d.client.receive(foreign.wireSynAck(foreign.wireSyn()));
      expect(d.client.lastCrossing).toMatchObject({ verdict: "drop", reason: "suite-unsupported" });
      const offer = mode === "psk" ? 2 : 1;
      d.server.receive(withSyn(foreign.wireSyn(), { suites: offer }));
      expect(d.server.lastCrossing?.verdict).toBe("drop");
      expectUnauthorised(d.server);
    }
  });

  test("a stripped payload falls through to no address rule", () => {
    const d = new Dialogue();
    d.server.receive(alter(d.wireSyn(), () => ({ data: Buffer.alloc(0) })));
    expect(d.server.lastCrossing).toMatchObject({ verdict: "drop", reason: "token-missing" });
    const synAck = d.wireSynAck(d.wireSyn());
    d.client.receive(alter(synAck, () => ({ data: Buffer.alloc(0) })));
    expect(lastDelivered(d.client)?.flags).toBe(RST | ACK);
    expectUnauthorised(d.client);
  });

  test("a stripped marker does no harm: the message has its own magic", () => {
    const d = new Dialogue();
    const bare = (packet: Buffer) =>
      alter(packet, ({ options }) => ({ options: options.replace("fd047472", "01010101") }));
    const synAck = d.wireSynAck(bare(d.wireSyn()));
    expectConnects(d, bare(synAck));
  });

  test("data in a SYN never reaches the stack", () => {
    const d = new Dialogue();
    d.server.receive(
      alter(d.wireSyn(), ({ data }) => ({ data: Buffer.concat([data, Buffer.from("evil")]) })),
    );
    expect(
      d.server.delivered.map((packet) => readSegment(packet).data.length).every((length) => length === 0),
    ).toBe(true);
  });
});

describe("with the pre-shared key alone", () => {
  test("tags of the specification's key schedule, computed apart, are the engine's", () => {
    const secret = randomBytes(32);
    const domain = new Domain("psk", "cluster.local", secret);
    const node = new TestNode(domain, "node-a");
    const d = new Dialogue();
    const client = new EnforcedPod(node, node.unit("a", { app: "web" }));
    const server = new EnforcedPod(node, node.unit("b", { app: "app" }));
    const syn = takeOne(client, () => client.send(d.syn()));
    server.receive(syn);
    const synAck = takeOne(server, () => server.send(d.synAck()));
    const sha = (...parts: Uint8Array[]) => new Uint8Array(hashSynReference(parts));
    const u32 = (value: number) => Buffer.from([value >>> 24, value >>> 16, value >>> 8, value]);
    const [synData, answer] = [readSegment(syn).data, readSegment(synAck).data];
    const th1 = sha(u32(synData.length), synData);
    const covered = answer.subarray(0, -16);
    const th2 = sha(th1, u32(covered.length), covered);
    const name = Buffer.from("cluster.local");
    const domainName = Buffer.concat([Buffer.from([name.length]), name]);
    const salt = sha(
      Buffer.from("trireme-cni handshake\0"),
      Buffer.from([6, 1, 2, 0]),
      domainName,
      domainName,
    );
    const tokens = [sha(synOf(syn).token), sha(synAckOf(synAck).token)];
    const kS = Buffer.from(
      hkdfSync("sha256", secret, salt, Buffer.concat([Buffer.from("S"), ...tokens]), 32),
    );
    const expected = createHmac("sha256", kS).update("S").update(th2).digest().subarray(0, 16);
    expect(Buffer.from(synAckOf(synAck).tag).toString("hex")).toBe(expected.toString("hex"));
    client.receive(synAck);
    const ack = takeOne(client, () => client.send(d.ack()));
    const kC = Buffer.from(
      hkdfSync("sha256", secret, salt, Buffer.concat([Buffer.from("C"), ...tokens]), 32),
    );
    const tagC = createHmac("sha256", kC).update("C").update(th2).update(expected).digest().subarray(0, 16);
    expect(readSegment(ack).options).toContain(`fd147472${tagC.toString("hex")}`);
  });
});

function hashSynReference(parts: readonly Uint8Array[]): Buffer {
  return createHash("sha256").update(Buffer.concat(parts)).digest();
}
