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
  token: OwnToken;

  constructor(
    description: PuDescription,
    token: OwnToken,
    namespace: PodNamespace,
    environment: EngineEnvironment,
  ) {
    this.description = description;
    this.token = token;
    this.namespace = namespace;
    const { id, attributes, mtu } = description;
    this.engine = new Engine({ id, attributes, token: () => this.token, mtu }, environment);
  }
}
