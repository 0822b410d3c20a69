/** A client of the Container Runtime Interface: the few calls that a kubelet makes for a pod's network. Source: k8s.io/cri-api, api.proto. */
import { credentials, loadPackageDefinition, type Client, type ServiceError } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { criProto } from "../harness/go-tools.ts";

type Call = (
  request: object,
  options: { deadline: number },
  done: (error: ServiceError | null, answer: never) => void,
) => void;
type RuntimeServiceConstructor = new (
  address: string,
  channelCredentials: unknown,
) => Client & Record<string, Call>;

export interface SandboxConfig {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly attempt: number;
  };
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly log_directory?: string;
  readonly linux?: { readonly cgroup_parent: string };
}

export interface SandboxStatus {
  readonly status: {
    readonly state: string;
    readonly network: {
      readonly ip: string;
      readonly additional_ips: readonly { readonly ip: string }[];
    } | null;
  };
}

export interface RuntimeCondition {
  readonly type: string;
  readonly status: boolean;
  readonly reason: string;
  readonly message: string;
}

export class CriClient {
  readonly #client: Client & Record<string, Call>;

  /** `socket`: path of the runtime's socket. */
  constructor(socket: string) {
    const definition = loadSync(criProto, { keepCase: true, longs: Number, enums: String, defaults: true });
    const { runtime } = loadPackageDefinition(definition) as unknown as {
      runtime: { v1: { RuntimeService: RuntimeServiceConstructor } };
    };
    this.#client = new runtime.v1.RuntimeService(`unix://${socket}`, credentials.createInsecure());
  }

  close(): void {
    this.#client.close();
  }

  #call<T>(method: string, request: object, timeoutMs = 60_000): Promise<T> {
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, answer: never) => {
        if (error === null) resolve(answer);
        else reject(error);
      };
      this.#client[method]?.(request, { deadline: Date.now() + timeoutMs }, done);
    });
  }

  version(): Promise<{ runtime_name: string; runtime_version: string }> {
    return this.#call("Version", {}, 2_000);
  }

  /** RuntimeReady and NetworkReady. */
  async conditions(): Promise<readonly RuntimeCondition[]> {
    const answer = await this.#call<{ status: { conditions: readonly RuntimeCondition[] } }>("Status", {});
    return answer.status.conditions;
  }

  /** Starts a pod (ADD), and gives its id, which is the CNI container id as well. */
  async runPodSandbox(config: SandboxConfig): Promise<string> {
    const answer = await this.#call<{ pod_sandbox_id: string }>("RunPodSandbox", { config });
    return answer.pod_sandbox_id;
  }

  podSandboxStatus(id: string): Promise<SandboxStatus> {
    return this.#call("PodSandboxStatus", { pod_sandbox_id: id });
  }

  async listPodSandboxes(): Promise<string[]> {
    const answer = await this.#call<{ items: { id: string }[] }>("ListPodSandbox", {});
    return answer.items.map(({ id }) => id);
  }

  /** Ends a pod: the first DEL. */
  async stopPodSandbox(id: string): Promise<void> {
    await this.#call("StopPodSandbox", { pod_sandbox_id: id });
  }

  /** Forgets a pod: one more DEL. */
  async removePodSandbox(id: string): Promise<void> {
    await this.#call("RemovePodSandbox", { pod_sandbox_id: id });
  }
}
