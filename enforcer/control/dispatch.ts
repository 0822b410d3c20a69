/** Owns what each request of the control socket does: decode, ask the part that knows, encode the answer, count it. */
import type { Log, LogFields } from "../log.ts";
import {
  encodeAnswer,
  encodeError,
  type ControlError,
  type Decoded,
  type LogRequest,
  type PluginRequest,
  type StatusAnswer,
} from "./messages.ts";
import { decodeEnvelope, decodePluginRequest, isPluginOp } from "./requests.ts";
import {
  attributesDocument,
  decodeOperatorRequest,
  encodeEnd,
  encodeItem,
  type FlowDocument,
  type FlowsRequest,
  type ListEnd,
  type OperatorRequest,
  type PuDocument,
} from "./operator-messages.ts";
import type { PuRecord } from "./pu-record.ts";
import type { PuTable } from "./pu-table.ts";
import type { Client } from "./session.ts";

/** What the rest of the daemon tells control. */
export interface ControlSources {
  readonly enforcerVersion: string;
  /** Resolves once the PUs of the last run are back; until then only `status` and `log` are answered. */
  readonly started: Promise<undefined>;
  /** Why the enforcer isn't ready for an ADD; undefined: it is. Code 51 if running pods may be affected, else 50. */
  unreadiness(): ControlError | undefined;
  summary(): ListEnd;
  recentFlows(): readonly FlowDocument[];
  /** Decisions that `recentFlows` can't show any more. */
  missingFlows(): number;
  /** Calls back for each new decision until the function returned is called. */
  followFlows(listener: (flow: FlowDocument) => void): () => void;
  /** One request was answered; code 0: granted. `op` is one of the protocol's or `other`. */
  onAnswered(op: string, code: number): void;
}

/** Flows that wait for a slow reader, before it is cut. */
const FLOWS_WAITING = 10_000;

export class Dispatcher {
  readonly #table: PuTable;
  readonly #sources: ControlSources;
  readonly #log: Log;

  constructor(table: PuTable, sources: ControlSources, log: Log) {
    this.#table = table;
    this.#sources = sources;
    this.#log = log;
  }

  /** Answers one line. Never rejects: a defect is an answer with code 105. */
  async handle(line: string, client: Client): Promise<void> {
    const envelope = decodeEnvelope(line);
    const op = envelope.ok ? envelope.value.op : "other";
    if (op !== "status" && op !== "log") await this.#sources.started;
    try {
      const error = isPluginOp(op) ? await this.#plugin(line, client) : await this.#operator(line, client);
      if (error !== undefined) this.#refuse(op, error, client);
      this.#sources.onAnswered(op, error?.code ?? 0);
    } catch (error) {
      this.#log.error("request failed", {
        op,
        problem: error instanceof Error ? error.stack : String(error),
      });
      client.write(encodeError({ code: 105, message: "the enforcer failed; its log says why" }));
      this.#sources.onAnswered(op, 105);
    }
  }

  #refuse(op: string, error: ControlError, client: Client): void {
    this.#log.warn("control request refused", { op, code: error.code, problem: error.message });
    client.write(encodeError(error));
  }

  /** The connection has ended: what it prepared and didn't enforce is undone. */
  async closed(client: Client): Promise<void> {
    try {
      await this.#table.abandon(client.owner);
    } catch (error) {
      this.#log.error("ADD cannot be undone", { problem: String(error) });
    }
  }

  /** Gives the refusal, or answers and gives undefined. */
  async #plugin(line: string, client: Client): Promise<ControlError | undefined> {
    const request = decodePluginRequest(line);
    if (!request.ok) return request.error;
    const answer = await this.#answer(request.value, client);
    if (!answer.ok) return answer.error;
    client.write(encodeAnswer(answer.value));
    return undefined;
  }

  async #answer(request: PluginRequest, client: Client): Promise<Decoded<object>> {
    switch (request.op) {
      case "add": {
        const answer = await this.#table.add(request, client.owner);
        client.holdsPreparedPu ||= answer.ok;
        // The client may have gone while its namespace was being prepared.
        if (client.closed.aborted) await this.#table.abandon(client.owner);
        return answer;
      }
      case "enforce": {
        const answer = await this.#table.enforce(request.puId, client.owner);
        client.holdsPreparedPu = false;
        return answer;
      }
      case "del":
        return this.#table.del(request);
      case "check":
        return this.#table.check(request);
      case "gc":
        return { ok: true, value: await this.#table.gc(request) };
      case "status":
        return this.#status();
      case "log":
        this.#logFor(request);
        return { ok: true, value: {} };
    }
  }

  #status(): Decoded<StatusAnswer> {
    const error = this.#sources.unreadiness();
    if (error !== undefined) return { ok: false, error };
    return { ok: true, value: { ready: true, enforcerVersion: this.#sources.enforcerVersion } };
  }

  #logFor({ level, message, fields }: LogRequest): void {
    const line: LogFields = { ...fields, text: message };
    this.#log[level]("plugin", line);
  }

  async #operator(line: string, client: Client): Promise<ControlError | undefined> {
    const request = decodeOperatorRequest(line);
    if (!request.ok) return request.error;
    return this.#answerOperator(request.value, client);
  }

  async #answerOperator(request: OperatorRequest, client: Client): Promise<ControlError | undefined> {
    switch (request.op) {
      case "list":
        await writeItems(client, this.#table.list().map(puDocument));
        client.write(encodeEnd(this.#sources.summary()));
        return undefined;
      case "flows":
        await this.#flows(request, client);
        return undefined;
      case "release": {
        this.#log.warn("release asked for", { pu: request.puId ?? "all" });
        const answer = await this.#table.release(request.puId);
        if (!answer.ok) return answer.error;
        client.write(encodeAnswer(answer.value));
        return undefined;
      }
    }
  }

  async #flows(request: FlowsRequest, client: Client): Promise<void> {
    const recent = this.#sources.recentFlows();
    const chosen =
      request.last === undefined ? recent : recent.slice(Math.max(0, recent.length - request.last));
    const follower = request.follow ? this.#follow(client) : undefined;
    await writeItems(client, chosen);
    client.write(encodeEnd({ missing: this.#sources.missingFlows() }));
    await follower?.();
  }

  /** Collects new flows from now on; the function returned writes them until the client hangs up or falls too far behind. */
  #follow(client: Client): () => Promise<void> {
    client.stream();
    const waiting: FlowDocument[] = [];
    let wake = (): void => undefined;
    const stop = this.#sources.followFlows((flow) => {
      waiting.push(flow);
      if (waiting.length > FLOWS_WAITING) client.cut();
      wake();
    });
    client.closed.addEventListener("abort", () => {
      stop();
      wake();
    });
    return async () => {
      while (!client.closed.aborted) {
        await writeItems(client, waiting.splice(0));
        if (waiting.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      }
    };
  }
}

/** Writes as fast as the client reads. */
async function writeItems(client: Client, items: readonly object[]): Promise<void> {
  for (const item of items) {
    if (client.closed.aborted) return;
    client.write(encodeItem(item));
    await client.drained();
  }
}

function puDocument(record: PuRecord): PuDocument {
  return {
    id: record.id,
    containerId: record.containerId,
    network: record.network,
    ifname: record.ifname,
    netns: record.netnsPath,
    addresses: record.addresses.map(({ address }) => address),
    attributes: attributesDocument(record.attributes),
    enforcedSince: record.enforcedSince,
  };
}
