/**
 * Owns the daemon's composition: it makes the parts, joins them, and stops them in order. What each part does is theirs.
 *
 * Start: keys → worker → policy → control socket (answers `status` only) → PUs of the last run → everything.
 * Stop: control socket → worker (queues close; the rules stay, so the pods are closed to new connections) → the rest.
 */
import type { Server } from "node:http";
import { tryLockFile } from "../../netlink/file-lock.ts";
import { getPeerCredentials } from "../../netlink/netns.ts";
import type { EnforcerConfig } from "../config/config.ts";
import { Dispatcher } from "../control/dispatch.ts";
import { HandoverServer } from "../control/handover.ts";
import { kernelNamespaces } from "../control/kernel-namespaces.ts";
import type { ControlError } from "../control/messages.ts";
import type { ListEnd } from "../control/operator-messages.ts";
import { PuTable } from "../control/pu-table.ts";
import { RegistryFolder } from "../control/registry-folder.ts";
import { takeReleases } from "../control/release-journal.ts";
import { ControlServer } from "../control/server.ts";
import { loadKeys, type KeySnapshot, type KeyStoreOptions } from "../identity/key-store.ts";
import type { Log } from "../log.ts";
import { serveHttp } from "../telemetry/http.ts";
import { enforcerVersion } from "../version.ts";
import { performCalls } from "./handed-calls.ts";
import { connectLocally } from "./local-connection.ts";
import { forgetStart } from "./memory.ts";
import { PolicyFeed } from "./policy-feed.ts";
import { hostPus } from "./pu-hosting.ts";
import { QueueHolder } from "./queue-holder.ts";
import { RuleGuard } from "./rule-guard.ts";
import { TelemetryHub } from "./telemetry-hub.ts";
import { Tokens } from "./tokens.ts";
import { startWorker, WorkerLink } from "./worker-link.ts";

const TICK_MS = 250;
const SWEEP_MS = 2000;
/** A certificate that ends sooner is worth a warning. */
const CERTIFICATE_WARNING_MS = 60 * 60 * 1000;

export interface DaemonOptions {
  readonly config: EnforcerConfig;
  readonly log: Log;
  /** The worker died: the process should end, and be started anew. */
  readonly onFatal: (problem: string) => void;
}

export class Daemon {
  readonly #options: DaemonOptions;
  readonly #startedAtMs = Date.now();
  readonly #hub: TelemetryHub;
  readonly #link: WorkerLink;
  readonly #tokens: Tokens;
  readonly #policy: PolicyFeed;
  readonly #guard: RuleGuard;
  readonly #queues: QueueHolder;
  readonly #table: PuTable;
  readonly #timers: NodeJS.Timeout[] = [];
  #server: ControlServer | undefined;
  #handover: HandoverServer | undefined;
  #http: Server | undefined;
  #isStarted = false;

  /** Starts everything, and resolves when it is ready. Rejects with `OperationError`; nothing is left then. */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const folder = RegistryFolder.open(options.config.state);
    const keys = await loadKeys(keyOptions(options.config), Date.now());
    const daemon = new Daemon(options, folder, keys);
    try {
      await daemon.#start(folder, keys);
      return daemon;
    } catch (error) {
      await daemon.stop();
      throw error;
    }
  }

  private constructor(options: DaemonOptions, folder: RegistryFolder, keys: KeySnapshot) {
    const { config, log } = options;
    this.#options = options;
    this.#hub = new TelemetryHub(config.limits.flowRecords, log);
    this.#link = new WorkerLink(startWorker(), {
      onReport: (report) => this.#hub.takeReport(report),
      onPolicyApplied: (generation) => {
        this.#hub.metrics.setPolicyGeneration(generation);
        log.debug("policy in force", { generation });
      },
      onDeath: (problem) => options.onFatal(`the datapath worker died: ${problem}`),
    });
    this.#tokens = new Tokens({
      signer: keys.signer,
      clock: { now: () => performance.now(), wall: () => Date.now() },
      random: Math.random,
      onRenewed: (puId, token) => this.#link.tell({ kind: "token", puId, token }),
      log,
    });
    this.#policy = new PolicyFeed(
      config.policy,
      (policy, generation) => this.#link.tell({ kind: "policy", policy, generation }),
      () => this.#hub.metrics.countRefusedReload("policy"),
      log,
    );
    this.#guard = new RuleGuard({ markMask: config.markMask, log, now: () => performance.now() });
    this.#queues = new QueueHolder(log);
    this.#table = new PuTable({
      folder,
      namespaces: kernelNamespaces(),
      host: hostPus(this.#tokens, this.#link, this.#guard, this.#queues, log),
      log,
      node: config.node,
      markMask: config.markMask,
      maximumPus: config.limits.processingUnits,
      now: Date.now,
    });
  }

  async #start(folder: RegistryFolder, keys: KeySnapshot): Promise<void> {
    const { config, log } = this.#options;
    const started = Promise.withResolvers<undefined>();
    const dispatcher = this.#dispatcher(started.promise);
    this.#server = await this.#listen(dispatcher);
    await this.#link.configure({
      networks: config.networks,
      trust: keys.trust,
      markMask: config.markMask,
      limits: config.limits,
    });
    await this.#policy.reload();
    this.#policy.watch();
    this.#http = await this.#serveHttp();
    for (const release of takeReleases(folder.path))
      log.warn("PU was released while no enforcer ran", release);
    const restored = await this.#table.restore();
    this.#every(TICK_MS, () => this.#tokens.tick());
    this.#every(SWEEP_MS, () => void this.#sweep());
    this.#every(SWEEP_MS, () => this.#queues.tick());
    this.#every(SWEEP_MS, () => this.#hub.tick());
    this.#handover = await this.#listenForCalls(dispatcher);
    forgetStart();
    this.#isStarted = true;
    started.resolve(undefined);
    log.info("ready", { version: enforcerVersion, socket: config.socket, mode: config.mode, ...restored });
  }

  #dispatcher(started: Promise<undefined>): Dispatcher {
    return new Dispatcher(
      this.#table,
      {
        enforcerVersion,
        started,
        unreadiness: () => this.#unreadiness(),
        summary: () => this.#summary(),
        recentFlows: () => this.#hub.recentFlows(),
        missingFlows: () => this.#hub.missingFlows,
        followFlows: (listener) => this.#hub.followFlows(listener),
        onAnswered: (op, code) => this.#hub.countRequest(op, code),
      },
      this.#options.log,
    );
  }

  #listen(dispatcher: Dispatcher): Promise<ControlServer> {
    const { config, log } = this.#options;
    return ControlServer.listen({
      path: config.socket,
      handle: (line, session) => dispatcher.handle(line, session),
      onClosed: (session) => void dispatcher.closed(session),
      peerUid: (fd) => getPeerCredentials(fd).uid,
      tryLock: tryLockFile,
      registry: config.state,
      onRefused: ({ code }) => this.#hub.metrics.countControlRefusal(code),
      log,
    });
  }

  /** Without it the plugin runs in processes of its own: slower, and no less right. */
  async #listenForCalls(dispatcher: Dispatcher): Promise<HandoverServer | undefined> {
    const { config, log } = this.#options;
    try {
      return await HandoverServer.listen({
        controlPath: config.socket,
        perform: performCalls(config.socket, connectLocally(dispatcher)),
        peerUid: (fd) => getPeerCredentials(fd).uid,
        log,
      });
    } catch (error) {
      log.warn("the plugin's calls cannot be taken over", { problem: String(error) });
      return undefined;
    }
  }

  #serveHttp(): Promise<Server> | undefined {
    const { metrics: address } = this.#options.config;
    if (address === undefined) return undefined;
    const { metrics } = this.#hub;
    return serveHttp(address.host, address.port, {
      metrics: async () => {
        metrics.setPus(this.#table.list().length);
        return { contentType: metrics.contentType, text: await metrics.render() };
      },
      unreadiness: () => this.#unreadiness()?.message,
    });
  }

  #unreadiness(): ControlError | undefined {
    if (!this.#isStarted) return { code: 50, message: "the enforcer is starting" };
    const { signer } = this.#tokens;
    const hasExpired = signer.suite === 1 && signer.certificateExpiresAtMs <= Date.now();
    if (!hasExpired && this.#tokens.failing.size === 0) return undefined;
    const message = hasExpired
      ? "the node's certificate has expired; make a new one (trireme keys node) and send SIGHUP"
      : `the tokens of ${this.#tokens.failing.size} PUs cannot be renewed; the enforcer's log says why`;
    return { code: this.#table.list().length > 0 ? 51 : 50, message };
  }

  #summary(): ListEnd {
    return {
      enforcer: { version: enforcerVersion, startedAt: new Date(this.#startedAtMs).toISOString() },
      counters: Object.fromEntries([...this.#hub.metrics.counters].sort(([a], [b]) => (a < b ? -1 : 1))),
      warnings: this.#warnings(),
    };
  }

  #warnings(): string[] {
    const { signer } = this.#tokens;
    const leftMs = signer.suite === 1 ? signer.certificateExpiresAtMs - Date.now() : Infinity;
    const isEnding = leftMs > 0 && leftMs < CERTIFICATE_WARNING_MS;
    const ending = isEnding ? `the node's certificate ends in ${Math.ceil(leftMs / 60_000)} min` : undefined;
    const altered = [...this.#guard.repairs].map(
      ([puId, times]) =>
        `PU ${puId}: its rules were altered from outside and put back, ${times} times; does it have CAP_NET_ADMIN?`,
    );
    const single = [this.#unreadiness()?.message, this.#policy.warning, ending];
    return [...single.filter((one) => one !== undefined), ...altered, ...this.#senderWarnings()];
  }

  /** What a pod with CAP_NET_RAW can send past its rules. */
  #senderWarnings(): string[] {
    const { length } = this.#guard.withoutEgress;
    const noHook = `${length} PUs: this kernel has no netdev egress hook (Linux 5.16 has), so frames of packet sockets pass their rules; take CAP_NET_RAW from pods`;
    const notHeld = [...this.#queues.problems].map(
      ([puId, problem]) => `PU ${puId}: AF_XDP passes its rules, for not all queues are held: ${problem}`,
    );
    return [...(length === 0 ? [] : [noHook]), ...notHeld];
  }

  #every(intervalMs: number, work: () => void): void {
    this.#timers.push(setInterval(work, intervalMs));
  }

  async #sweep(): Promise<void> {
    await this.#table
      .sweep()
      .catch((error: unknown) => this.#options.log.error("sweep", { problem: String(error) }));
  }

  /** SIGHUP: policy and keys are read again. What is wrong is logged, and changes nothing. */
  async reload(): Promise<void> {
    const { config, log } = this.#options;
    log.info("reload");
    const policy = this.#policy.reload();
    try {
      const { trust, signer } = await loadKeys(keyOptions(config), Date.now());
      this.#link.tell({ kind: "trust", trust });
      this.#tokens.replaceSigner(signer);
      log.info("keys loaded", { folder: config.keys });
    } catch (error) {
      this.#hub.metrics.countRefusedReload("keys");
      log.error("keys refused; the ones before stay in force", { problem: String(error) });
    }
    await policy;
  }

  /** Stops in order. The rules stay in the pods: authorised connections go on, new ones wait for the next enforcer. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#policy.stop();
    this.#http?.close();
    this.#http?.closeAllConnections();
    this.#handover?.close();
    await this.#server?.close();
    await this.#link.stop();
    await this.#table.close();
    this.#guard.close();
    this.#queues.close();
  }
}

function keyOptions(config: EnforcerConfig): KeyStoreOptions {
  return {
    folder: config.keys,
    mode: config.mode,
    trustDomain: config.trustDomain,
    node: config.node,
    tokenLifetimeMs: config.tokens.lifetimeSeconds * 1000,
    clockSkewMs: config.tokens.clockSkewSeconds * 1000,
  };
}
