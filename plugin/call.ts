/** Owns what a verb is called with: the runtime's request, its configuration, and the edges that it may use. */
import type { AttachmentKey } from "../enforcer/control/messages.ts";
import type { ConnectControl, ControlConnection } from "./control-client.ts";
import type { Deadline } from "./deadline.ts";
import type { DelInvocation, Invocation, PodInvocation } from "./environment.ts";
import type { LogEntry } from "./log.ts";
import type { NetworkConfig, Options } from "./network-config.ts";
import type { OpenPodNamespace } from "./pod-namespace.ts";

/** The edges of the process, but for its own streams: one fake for each in the tests. */
export interface Edges {
  readonly connect: ConnectControl;
  readonly openNamespace: OpenPodNamespace;
  readonly isOwnNamespace: (path: string) => boolean;
  /** Wall clock. */
  readonly now: () => Date;
  /** The plugin's release, told to the enforcer. */
  readonly pluginVersion: string;
}

/** A verb's call; `I` is what it needs of the environment. */
export interface Call<I extends Invocation = Invocation> {
  readonly invocation: I;
  readonly config: NetworkConfig;
  readonly options: Options;
  /** The end of waiting for the enforcer. */
  readonly deadline: Deadline;
  readonly edges: Edges;
  /** Notes an entry; it is delivered when the verb is done. */
  readonly log: (entry: LogEntry) => void;
}

export function attachmentKey(call: Call<PodInvocation | DelInvocation>): AttachmentKey {
  const { containerId, ifname } = call.invocation;
  return { network: call.config.network, containerId, ifname };
}

/** Talks to the enforcer on a connection of its own, closed at the end whatever happens. */
export async function withEnforcer<T>(
  call: Call,
  talk: (connection: ControlConnection) => Promise<T>,
): Promise<T> {
  const connection = await call.edges.connect(call.options.socket, call.deadline);
  try {
    return await talk(connection);
  } finally {
    connection.close();
  }
}
