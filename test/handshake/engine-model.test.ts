/**
 * The model test: whatever two stacks, two enforcers and a hostile network do, in any order, nothing is authorised without a fresh
 * proof from the other end, and once the network behaves the pair connects.
 *
 * The oracle knows no cryptography. It watches which bytes each engine made, from which bytes that it got, and holds that:
 *  - a client authorises only after the server's own engine answered, unaltered, the very SYN that the client has out;
 *  - a server authorises only on a tag that the client's own engine made for an answer that the server's engine gave, to this SYN, in
 *    its present life, and that has authorised no earlier connection;
 *  - no data reaches a stack on a flow that is not authorised.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Dialogue } from "./dialogue.ts";
import type { Mode } from "./fixtures.ts";
import { ACK, alter, FIN, flip, PSH, readSegment, RST, SYN } from "./segments.ts";

type End = "client" | "server";
type Step =
  | { readonly kind: "advance" }
  | { readonly kind: "dial"; readonly isNew: boolean }
  | { readonly kind: "answer"; readonly isNew: boolean }
  | { readonly kind: "clientSends" | "serverSends"; readonly data: string; readonly flags: number }
  | { readonly kind: "deliver"; readonly index: number; readonly end: End }
  | {
      readonly kind: "alter";
      readonly index: number;
      readonly end: End;
      readonly at: number;
      readonly field: "data" | "options" | "flags" | "seq";
    }
  | {
      readonly kind: "graft";
      readonly index: number;
      readonly other: number;
      readonly end: End;
      readonly field: "data" | "options";
    }
  | { readonly kind: "restart" | "renew"; readonly end: End }
  | { readonly kind: "loseMarks"; readonly end: End }
  | { readonly kind: "wait"; readonly ms: number };

const end = fc.constantFrom<End>("client", "server");
const index = fc.nat({ max: 40 });
const flags = fc.constantFrom(ACK, ACK | PSH, ACK | FIN, RST, RST | ACK);
const data = fc.constantFrom("", "data", "x".repeat(1448));

/** Most steps are those of an honest handshake, one after the other: else none would ever get anywhere. */
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 60, arbitrary: fc.constant({ kind: "advance" as const }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("dial" as const), isNew: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("answer" as const), isNew: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("clientSends" as const, "serverSends" as const),
      data,
      flags,
    }),
  },
  { weight: 12, arbitrary: fc.record({ kind: fc.constant("deliver" as const), index, end }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("alter" as const),
      index,
      end,
      at: fc.nat({ max: 700 }),
      field: fc.constantFrom("data" as const, "options" as const, "flags" as const, "seq" as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("graft" as const),
      index,
      other: index,
      end,
      field: fc.constantFrom("data" as const, "options" as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("restart" as const, "renew" as const), end }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("loseMarks" as const), end }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.constantFrom(100, 31_000, 76_000) }),
  },
);

/** An answer that the server's engine made: from which SYN, in which life, for which connection of its stack. */
interface MadeAnswer {
  readonly synData: string;
  readonly life: number;
  authorisedConnection: number | undefined;
}

class World {
  readonly dialogue: Dialogue;
  readonly captured: Buffer[] = [];
  authorisations = { client: 0, server: 0 };
  private clientIsn = 1000;
  private serverIsn = 0x2000_0000;
  private phase = 0;
  private readonly lastSent: Partial<Record<End, Buffer>> = {};
  private serverLife = 0;
  private serverConnection = 0;
  /** What the client's engine has out now, by ISN. */
  private readonly synOut = new Map<number, string>();
  /** The SYNs that the server's engine admitted, by the ISN and in their order. */
  private readonly admitted = new Map<number, string[]>();
  private readonly answers = new Map<string, MadeAnswer>();
  /** Tag C → the answer that the client's engine had accepted when it made it. */
  private readonly tags = new Map<string, string>();
  private acceptedAnswer: string | undefined;
  private clientProof = false;
  private serverProof = false;

  constructor(mode: Mode) {
    this.dialogue = new Dialogue({ mode });
    for (const name of ["client", "server"] as const) this.watch(name);
  }

  private watch(name: End): void {
    const pod = this.dialogue[name];
    pod.onSend = (packet) => {
      this.captured.push(packet);
      this.lastSent[name] = packet;
    };
    pod.onDeliver = (packet) => this.checkDelivery(name, packet);
    pod.onCross = (queue, packet, outcome) => {
      if (outcome.verdict !== "accept") return;
      const made = outcome.packet === undefined ? packet : Buffer.from(outcome.packet);
      if (name === "client") this.watchClient(queue, packet, made, outcome.mark);
      else this.watchServer(queue, packet, made, outcome.mark);
    };
  }

  private watchClient(queue: number, packet: Buffer, made: Buffer, mark: string): void {
    const [before, after] = [readSegment(packet), readSegment(made)];
    if (queue === 3) {
      const known = this.synOut.get(after.seq);
      const synData = after.data.toString("hex");
      if (known !== synData) this.acceptedAnswer = undefined;
      if (known !== synData) this.clientProof = false;
      this.synOut.clear();
      this.synOut.set(after.seq, synData);
    }
    if (queue === 1 && (after.flags & SYN) !== 0)
      this.checkAcceptedAnswer(before.data.toString("hex"), before.ack);
    if (queue === 4) this.noteTag(before.options, after.options);
    if (mark === "authorised") {
      expect(this.clientProof, "the client authorised without the server's answer to its SYN").toBe(true);
      this.authorisations.client += 1;
    }
  }

  /** What the client takes must be what the server's engine made of the SYN that the client has out. */
  private checkAcceptedAnswer(answer: string, ack: number): void {
    const made = this.answers.get(answer);
    expect(made, "the client took an answer that no engine made").toBeDefined();
    expect(made?.synData, "the client took an answer to another SYN").toBe(this.synOut.get((ack - 1) >>> 0));
    this.acceptedAnswer = answer;
    this.clientProof = true;
  }

  private noteTag(before: string, after: string): void {
    const tag = /fd147472([0-9a-f]{32})/.exec(after)?.[1];
    if (tag === undefined || before.includes(tag)) return;
    expect(this.acceptedAnswer, "the client proved itself to nobody").toBeDefined();
    this.tags.set(tag, this.acceptedAnswer ?? "");
  }

  private watchServer(queue: number, packet: Buffer, made: Buffer, mark: string): void {
    const [before, after] = [readSegment(packet), readSegment(made)];
    if (queue === 0) this.admit(before.seq, before.data.toString("hex"));
    if (queue === 3) this.noteAnswer(after.data.toString("hex"), after.ack);
    if (queue === 2 && mark === "authorised") this.checkAuthorisation(before.options);
  }

  private admit(isn: number, synData: string): void {
    const others = (this.admitted.get(isn) ?? []).filter((other) => other !== synData);
    this.admitted.set(isn, [...others, synData]);
  }

  private noteAnswer(answer: string, ack: number): void {
    if (this.answers.has(answer)) return;
    const synData = this.admitted.get((ack - 1) >>> 0)?.at(-1) ?? "";
    this.answers.set(answer, { synData, life: this.serverLife, authorisedConnection: undefined });
    this.serverProof = false;
  }

  /** A tag must be the client's, for an answer of this life that has authorised no earlier connection; an untagged segment needs an earlier one that was. */
  private checkAuthorisation(options: string): void {
    this.authorisations.server += 1;
    const tag = /fd147472([0-9a-f]{32})/.exec(options)?.[1];
    const answer = this.answers.get(this.tags.get(tag ?? "") ?? "");
    const isFresh =
      answer?.life === this.serverLife &&
      (answer.authorisedConnection ?? this.serverConnection) === this.serverConnection;
    if (isFresh) answer.authorisedConnection = this.serverConnection;
    if (isFresh) this.serverProof = true;
    expect(this.serverProof, "the server authorised without the client's fresh proof").toBe(true);
  }

  private checkDelivery(name: End, packet: Buffer): void {
    const { data: delivered } = readSegment(packet);
    if (delivered.length === 0) return;
    const isProven = name === "client" ? this.clientProof : this.serverProof;
    expect(isProven, `data reached the ${name} unauthorised`).toBe(true);
  }

  run(one: Step): void {
    const { dialogue } = this;
    switch (one.kind) {
      case "advance": {
        this.advance();
        return;
      }
      case "dial":
        if (one.isNew) this.clientIsn += 100_000;
        {
          dialogue.client.send(dialogue.syn({ seq: this.clientIsn }));
          return;
        }
      case "answer": {
        this.answer(one.isNew);
        return;
      }
      case "clientSends": {
        dialogue.client.send(this.clientData(one.data, one.flags));
        return;
      }
      case "serverSends": {
        dialogue.server.send(this.serverData(one.data, one.flags));
        return;
      }
      case "deliver": {
        this.deliver(one.end, this.pick(one.index));
        return;
      }
      case "alter": {
        this.deliver(one.end, this.altered(one));
        return;
      }
      case "graft": {
        this.deliver(one.end, this.grafted(one));
        return;
      }
      case "restart": {
        this.restart(one.end);
        return;
      }
      case "renew": {
        dialogue[one.end].unit.renew(dialogue[one.end].wallMs);
        return;
      }
      case "loseMarks": {
        dialogue[one.end].marked.clear();
        return;
      }
      case "wait": {
        this.wait(one.ms);
        return;
      }
    }
  }

  /** The server's stack answers the latest SYN; a new connection of its has a new ISN. */
  private answer(isNew: boolean): void {
    if (isNew) this.serverIsn += 100_000;
    if (isNew) this.serverConnection += 1;
    if (isNew) this.serverProof = false;
    this.dialogue.server.send(this.dialogue.synAck({ seq: this.serverIsn, ack: this.clientIsn + 1 }));
  }

  private clientData(text: string, segmentFlags: number): Buffer {
    const numbers = { seq: this.clientIsn + 1, ack: this.serverIsn + 1 };
    return this.dialogue.ack({ ...numbers, data: Buffer.from(text), flags: segmentFlags });
  }

  private serverData(text: string, segmentFlags: number): Buffer {
    const numbers = { seq: this.serverIsn + 1, ack: this.clientIsn + 1 };
    return this.dialogue.serverSegment({ ...numbers, data: Buffer.from(text), flags: segmentFlags });
  }

  /** 0 is what was sent last. */
  private pick(back: number): Buffer | undefined {
    return this.captured.at(-1 - (back % Math.max(1, this.captured.length)));
  }

  private altered(one: Extract<Step, { kind: "alter" }>): Buffer | undefined {
    const packet = this.pick(one.index);
    if (packet === undefined) return undefined;
    return alter(packet, (segment) => {
      if (one.field === "flags") return { flags: [ACK, ACK | PSH, RST, SYN, SYN | ACK][one.at % 5] ?? ACK };
      if (one.field === "seq") return { seq: segment.seq ^ (1 << (one.at % 31)) };
      if (one.field === "data" && segment.data.length > 0)
        return { data: flip(segment.data, one.at % segment.data.length) };
      return { options: segment.options.replace(/(?<=fd147472)../, "00") };
    });
  }

  /** One packet with another's data or options. */
  private grafted(one: Extract<Step, { kind: "graft" }>): Buffer | undefined {
    const [packet, other] = [this.pick(one.index), this.pick(one.other)];
    if (packet === undefined || other === undefined) return undefined;
    const donor = readSegment(other);
    return alter(packet, () => (one.field === "data" ? { data: donor.data } : { options: donor.options }));
  }

  /** As the network would: to whom it is addressed, from either end's packets turned round if need be. */
  private deliver(to: End, packet: Buffer | undefined): void {
    if (packet === undefined) return;
    const { from, to: dialled } = this.dialogue.ends;
    const here = to === "server" ? dialled : from;
    const segment = readSegment(packet);
    const ports = { fromPort: segment.toPort, toPort: segment.fromPort };
    const turned = alter(packet, () => ({ from: segment.to, to: segment.from, ...ports }));
    this.dialogue[to].receive(segment.to === here ? packet : turned);
  }

  private restart(which: End): void {
    this.dialogue[which].restart();
    if (which === "server") this.serverLife += 1;
    if (which === "client") this.acceptedAnswer = undefined;
  }

  private wait(ms: number): void {
    for (const pod of [this.dialogue.client, this.dialogue.server]) {
      pod.nowMs += ms;
      pod.expire();
    }
  }

  /** The next step of an honest connection: a quarter of them dial anew, the others go on with what is there. */
  private advance(): void {
    const isNew = this.phase % 32 < 8;
    const steps: (() => void)[] = [
      () => this.run({ kind: "dial", isNew }),
      () => this.deliver("server", this.lastSent.client),
      () => this.answer(isNew),
      () => this.deliver("client", this.lastSent.server),
      () => this.run({ kind: "clientSends", data: "x".repeat(1448), flags: ACK }),
      () => this.deliver("server", this.lastSent.client),
      () => this.run({ kind: "serverSends", data: "data", flags: ACK }),
      () => this.deliver("client", this.lastSent.server),
    ];
    steps[this.phase++ % steps.length]?.();
  }

  /** From here on the network is honest: a new connection, on the same 4-tuple, gets through. */
  connect(): void {
    const { client, server } = this.dialogue;
    this.wait(76_000);
    for (const pod of [client, server]) pod.unit.renew(pod.wallMs);
    this.phase = 0;
    for (let count = 0; count < 6; count++) this.advance();
    expect(server.lastCrossing, "the pair fails for good").toMatchObject({
      verdict: "accept",
      mark: "authorised",
    });
    for (let count = 0; count < 2; count++) this.advance();
    expect(client.lastCrossing).toMatchObject({ verdict: "accept", mark: "authorised" });
  }
}

describe.each<{ mode: Mode; runs: number }>([
  { mode: "psk", runs: 400 },
  { mode: "pki", runs: 100 },
])("$mode", ({ mode, runs }) => {
  test(
    "no sequence of events authorises without a fresh proof, and none locks the pair out",
    { timeout: 120_000 },
    () => {
      const totals = { client: 0, server: 0 };
      fc.assert(
        fc.property(fc.array(step, { minLength: 5, maxLength: 80 }), (steps) => {
          const world = new World(mode);
          for (const one of steps) world.run(one);
          totals.client += world.authorisations.client;
          totals.server += world.authorisations.server;
          world.connect();
        }),
        { numRuns: runs, seed: 20261122 },
      );
      expect(totals.client, "the steps never lead anywhere").toBeGreaterThan(runs / 4);
      expect(totals.server, "the steps never lead anywhere").toBeGreaterThan(runs / 4);
    },
  );
});
