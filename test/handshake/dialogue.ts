/** Two enforced pods and the segments that their stacks would send, one at a time: for tests of single rules. */
import type { EngineLimits } from "../../enforcer/handshake/environment.ts";
import { EnforcedPod } from "./enforced-pod.ts";
import type { Mode } from "./fixtures.ts";
import { Domain, TestNode } from "./fixtures.ts";
import { ACK, alter, buildSegment, dataOptions, PSH, readSegment, SYN, synOptions } from "./segments.ts";
import type { Segment } from "./segments.ts";

const web = { 4: "10.1.0.10", 6: "fd00:1::10" } as const;
const app = { 4: "10.1.0.20", 6: "fd00:1::20" } as const;

export interface DialogueOptions {
  readonly mode?: Mode;
  readonly version?: 4 | 6;
  readonly port?: number;
  readonly limits?: Partial<EngineLimits>;
  readonly mtu?: number;
  /** Labels of 31 characters that both pods have besides. */
  readonly clientLabels?: number;
  readonly serverLabels?: number;
}

/** `app.kubernetes.io/tagNN=valueNN` */
function manyLabels(count: number): Record<string, string> {
  const numbers = Array.from({ length: count }, (_, index) => String(index).padStart(2, "0"));
  return Object.fromEntries(numbers.map((number) => [`app.kubernetes.io/tag${number}`, `value${number}`]));
}

/** web at port 40000 dials app at port 80. */
export class Dialogue {
  readonly domain: Domain;
  readonly client: EnforcedPod;
  readonly server: EnforcedPod;
  readonly clientIsn = 0xffff_fff0;
  readonly serverIsn = 0x1000_0000;
  readonly ends: {
    readonly from: string;
    readonly to: string;
    readonly fromPort: number;
    readonly toPort: number;
  };

  constructor(options: DialogueOptions = {}) {
    const { mode = "psk", version = 4, port = 80, limits = {}, mtu = 1500 } = options;
    const { clientLabels = 0, serverLabels = 0 } = options;
    this.domain = new Domain(mode);
    const nodeA = new TestNode(this.domain, "node-a", limits);
    const nodeB = new TestNode(this.domain, "node-b", limits);
    this.client = new EnforcedPod(nodeA, nodeA.unit("a", { app: "web", ...manyLabels(clientLabels) }, mtu));
    this.server = new EnforcedPod(nodeB, nodeB.unit("b", { app: "app", ...manyLabels(serverLabels) }, mtu));
    this.ends = { from: web[version], to: app[version], fromPort: 40_000, toPort: port };
  }

  /** A segment of the client's stack. */
  clientSegment(fields: Partial<Segment>): Buffer {
    return buildSegment({
      ...this.ends,
      seq: this.clientIsn + 1,
      options: dataOptions,
      flags: ACK,
      ...fields,
    });
  }

  /** A segment of the server's stack. */
  serverSegment(fields: Partial<Segment>): Buffer {
    const { from, to, fromPort, toPort } = this.ends;
    const turned = { from: to, to: from, fromPort: toPort, toPort: fromPort };
    const ack = (this.clientIsn + 1) >>> 0;
    return buildSegment({
      ...turned,
      seq: this.serverIsn + 1,
      ack,
      options: dataOptions,
      flags: ACK,
      ...fields,
    });
  }

  syn(fields: Partial<Segment> = {}): Buffer {
    return this.clientSegment({ seq: this.clientIsn, flags: SYN, options: synOptions, ...fields });
  }

  synAck(fields: Partial<Segment> = {}): Buffer {
    return this.serverSegment({ seq: this.serverIsn, flags: SYN | ACK, options: synOptions, ...fields });
  }

  ack(fields: Partial<Segment> = {}): Buffer {
    return this.clientSegment({ seq: (this.clientIsn + 1) >>> 0, ack: this.serverIsn + 1, ...fields });
  }

  data(text: string, fields: Partial<Segment> = {}): Buffer {
    return this.ack({ flags: ACK | PSH, data: Buffer.from(text), ...fields });
  }

  /** Client's SYN as it is on the wire. */
  wireSyn(): Buffer {
    return takeOne(this.client, () => this.client.send(this.syn()));
  }

  /** Delivers a SYN to the server and returns the SYN-ACK as it is on the wire. */
  wireSynAck(wireSyn: Buffer): Buffer {
    this.server.receive(wireSyn);
    return takeOne(this.server, () => this.server.send(this.synAck()));
  }

  /** Delivers a SYN-ACK to the client and returns the tagged ACK as it is on the wire. */
  wireAck(wireSynAck: Buffer): Buffer {
    this.client.receive(wireSynAck);
    return takeOne(this.client, () => this.client.send(this.ack()));
  }

  /** A SYN from another port as it would be on the wire. */
  wireSynFrom(fromPort: number): Buffer {
    const outcome = this.client.judge(3, this.syn({ fromPort }));
    if (outcome.verdict !== "accept" || outcome.packet === undefined) throw new Error("the SYN was refused");
    return Buffer.from(outcome.packet);
  }

  /** The same SYN as if it came from another port: what a flood replays. */
  redirect(wireSyn: Buffer, fromPort: number): Buffer {
    return alter(wireSyn, () => ({ fromPort }));
  }

  /** A whole handshake, up to the server's first data. */
  connect(): void {
    this.server.receive(this.wireAck(this.wireSynAck(this.wireSyn())));
    const greeting = takeOne(this.server, () =>
      this.server.send(this.serverSegment({ data: Buffer.from("hello") })),
    );
    this.client.receive(greeting);
  }
}

/** The one packet that leaves a pod during an action. */
export function takeOne(pod: EnforcedPod, action: () => void): Buffer {
  const before = pod.sent.length;
  action();
  const [packet] = pod.sent.slice(before);
  if (packet === undefined || pod.sent.length !== before + 1)
    throw new Error(
      `${pod.sent.length - before} packets left instead of 1: ${JSON.stringify(pod.lastCrossing)}`,
    );
  return packet;
}

/** What arrived last, without what tests don't compare. */
export function lastDelivered(pod: EnforcedPod): Segment | undefined {
  const packet = pod.delivered.at(-1);
  return packet === undefined ? undefined : readSegment(packet);
}
