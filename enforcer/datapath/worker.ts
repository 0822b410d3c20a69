/** The datapath worker: a thread that answers the main thread's messages and otherwise serves queues. */
import { randomFillSync } from "node:crypto";
import { parentPort } from "node:worker_threads";
import { loadDigests } from "../digest/digest.ts";
import { AnsweredRoom } from "../handshake/answered-ring.ts";
import { deriveKeys } from "../handshake/key-schedule.ts";
import type { EngineEnvironment } from "../handshake/environment.ts";
import { Scratch } from "../handshake/scratch.ts";
import { cwtCodec } from "../identity/cwt.ts";
import type { TrustSnapshot } from "../identity/identity.ts";
import { IdentityCache } from "../identity/verifier.ts";
import { errorText } from "../operation-error.ts";
import { compilePolicy, type CompiledPolicy } from "../policy/evaluate.ts";
import { emptyPolicy } from "../policy/model.ts";
import { compileNetworks } from "../policy/networks.ts";
import { Datapath } from "./datapath.ts";
import { engineLimits } from "./engine-limits.ts";
import { verdictMarks } from "./mark.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { PolicyCompiler } from "./policy-compiler.ts";
import { Reporter } from "./reporter.ts";

const EXPIRE_MS = 250;
const REPORT_MS = 100;
/** Of all units together: 8 MB. */
const ANSWERED_ROOM = 65_536;
const RANDOM_POOL_BYTES = 8_192;

type Configure = Extract<ToWorker, { kind: "configure" }>;

/** Everything that lives from `configure` to `stop`. */
class Worker {
  readonly #send: (message: FromWorker) => void;
  readonly #reporter = new Reporter();
  readonly #identities: IdentityCache;
  readonly #datapath: Datapath;
  readonly #timers: readonly NodeJS.Timeout[];
  #policy: CompiledPolicy = compilePolicy(emptyPolicy);
  readonly #compiler: PolicyCompiler;

  constructor(configure: Configure, send: (message: FromWorker) => void) {
    loadDigests();
    this.#send = send;
    this.#identities = identityCache(configure);
    const clock = { now: () => performance.now(), wall: () => Date.now() };
    this.#datapath = new Datapath({
      environment: this.#environment(configure),
      identities: () => this.#identities,
      marks: verdictMarks(configure.markMask),
      limits: configure.limits,
      reporter: this.#reporter,
      clock,
    });
    this.#compiler = new PolicyCompiler({
      apply: (policy, generation) => {
        this.#policy = policy;
        send({ kind: "policyApplied", generation });
      },
      now: clock.now,
    });
    this.#timers = [
      setInterval(() => this.#expire(), EXPIRE_MS),
      setInterval(() => this.#report(), REPORT_MS),
    ];
  }

  #environment(configure: Configure): EngineEnvironment {
    return {
      identities: this.#identities,
      networks: compileNetworks(configure.networks),
      policy: () => this.#policy,
      fillRandom: randomPool(),
      limits: engineLimits(configure.limits),
      answeredRoom: new AnsweredRoom(ANSWERED_ROOM),
      scratch: new Scratch(),
    };
  }

  handle(message: Exclude<ToWorker, Configure>): void {
    switch (message.kind) {
      case "trust":
        this.#identities.replaceTrust(message.trust);
        return;
      case "policy":
        this.#compiler.start(message.policy, message.generation, this.#datapath.attributeSets);
        return;
      case "attach":
        this.#attach(message);
        return;
      case "token":
        this.#datapath.setToken(message.puId, message.token);
        return;
      case "detach":
        this.#datapath.detach(message.puId);
        this.#send({ kind: "detached", puId: message.puId });
        return;
      case "stop":
        this.#stop();
    }
  }

  #attach(message: Extract<ToWorker, { kind: "attach" }>): void {
    const puId = message.pu.id;
    try {
      this.#datapath.attach(message.pu);
      this.#send({ kind: "attached", puId });
    } catch (error) {
      this.#send({
        kind: "attachFailed",
        puId,
        message: errorText(error),
      });
    }
  }

  #expire(): void {
    this.#datapath.expire();
    this.#datapath.countOverflows();
    this.#identities.expire(Date.now());
  }

  #report(): void {
    const report = this.#reporter.take();
    if (report !== undefined) this.#send(report);
  }

  #stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#compiler.stop();
    this.#datapath.close();
    this.#report();
    this.#send({ kind: "stopped" });
  }
}

function identityCache({
  trust,
  limits,
}: {
  trust: TrustSnapshot;
  limits: Configure["limits"];
}): IdentityCache {
  return new IdentityCache({
    codec: cwtCodec,
    trust,
    derive: deriveKeys,
    limits: { verified: limits.cachedIdentities, refused: limits.cachedFailures, pairs: limits.cachedPairs },
  });
}

/** Random bytes from a pool: one call of the generator serves hundreds of nonces. Bytes are used once and overwritten. */
function randomPool(): (into: Uint8Array) => void {
  const pool = new Uint8Array(RANDOM_POOL_BYTES);
  let used = pool.length;
  return (into) => {
    if (used + into.length > pool.length) {
      randomFillSync(pool);
      used = 0;
    }
    into.set(pool.subarray(used, used + into.length));
    pool.fill(0, used, used + into.length);
    used += into.length;
  };
}

/** Serves the port until `stop`. Messages before `configure` are refused, since nothing could act on them. */
function serve(port: NonNullable<typeof parentPort>): void {
  const send = (message: FromWorker): void => port.postMessage(message);
  let worker: Worker | undefined;
  port.on("message", (message: ToWorker) => {
    if (message.kind === "configure") {
      worker = new Worker(message, send);
      send({ kind: "configured" });
    } else worker?.handle(message);
    if (message.kind === "stop") port.close();
  });
}

if (parentPort !== null) serve(parentPort);
