/** What the worker holds for one processing unit: its engine, its namespace and its current token. */
import { Engine } from "../handshake/engine.ts";
import type { EngineEnvironment } from "../handshake/environment.ts";
import type { OwnToken } from "../identity/identity.ts";
import type { PuDescription } from "./messages.ts";
import type { PodNamespace } from "./pod-namespace.ts";

export class PuDatapath {
  readonly description: PuDescription;
  readonly namespace: PodNamespace;
  readonly engine: Engine;
  /** Undefined until the first one has come: every handshake is refused so long. */
  token: OwnToken | undefined;

  constructor(description: PuDescription, namespace: PodNamespace, environment: EngineEnvironment) {
    this.description = description;
    this.namespace = namespace;
    const { id, attributes, mtu } = description;
    this.engine = new Engine({ id, attributes, token: () => this.token, mtu }, environment);
  }
}
