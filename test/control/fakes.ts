/** Fakes of control's edges: namespaces that exist only as paths, and a host that remembers what it was asked. */
import type { AddRequest } from "../../enforcer/control/messages.ts";
import type { Namespaces, PodInterface } from "../../enforcer/control/namespaces.ts";
import type { HostedPu, PuHost } from "../../enforcer/control/pu-host.ts";
import type { PuRecord } from "../../enforcer/control/pu-record.ts";
import type { Log, LogFields } from "../../enforcer/log.ts";

export class FakeNamespaces implements Namespaces {
  /** path → cookie; what isn't here doesn't exist. */
  readonly paths = new Map<string, string>();
  readonly interfaces = new Map<string, PodInterface>();
  ownCookie = "1";
  /** fd → cookie, of descriptors that are open now. */
  readonly opened = new Map<number, string>();
  #nextFd = 100;

  /** A namespace with one interface eth0 that has one address. */
  make(path: string, cookie: string, address: readonly number[] = [10, 1, 0, 2]): void {
    this.paths.set(path, cookie);
    this.interfaces.set(`${cookie} eth0`, {
      mtu: 1500,
      addresses: [Uint8Array.from(address)],
      onLinkPrefixes6: ["fd00::/64"],
    });
  }

  open(path: string): number {
    const cookie = this.paths.get(path);
    if (cookie === undefined) throw new Error("ENOENT");
    this.opened.set(++this.#nextFd, cookie);
    return this.#nextFd;
  }

  close(fd: number): void {
    if (!this.opened.delete(fd)) throw new Error(`descriptor ${fd} closed twice`);
  }

  cookie(fd: number): string {
    return this.opened.get(fd) ?? "closed";
  }

  isOwn(fd: number): boolean {
    return this.cookie(fd) === this.ownCookie;
  }

  inspect(fd: number, ifname: string): PodInterface | undefined {
    return this.interfaces.get(`${this.cookie(fd)} ${ifname}`);
  }
}

export class FakeHost implements PuHost {
  readonly attached = new Map<string, HostedPu>();
  readonly guarded = new Set<string>();
  /** What was released, and who stayed in its namespace. */
  readonly released: { puId: string; staying: string[] | undefined }[] = [];
  /** Made to fail, or to wait, by tests. */
  beforeAttach: (pu: HostedPu) => Promise<void> | void = () => undefined;

  async attach(pu: HostedPu): Promise<void> {
    await this.beforeAttach(pu);
    if (this.attached.has(pu.record.id)) throw new Error("attached twice");
    this.attached.set(pu.record.id, pu);
  }

  guardRules(pu: HostedPu): void {
    this.guarded.add(pu.record.id);
  }

  detach(puId: string): Promise<void> {
    this.attached.delete(puId);
    this.guarded.delete(puId);
    return Promise.resolve();
  }

  removeRules({ record }: HostedPu, staying: readonly PuRecord[] | undefined): void {
    this.released.push({ puId: record.id, staying: staying?.map(({ id }) => id) });
  }
}

export interface LoggedLine {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields;
}

/** Keeps what was logged. */
export class FakeLog implements Log {
  readonly lines: LoggedLine[] = [];

  debug(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: "debug", message, fields });
  }

  info(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: "info", message, fields });
  }

  warn(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: "warn", message, fields });
  }

  error(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: "error", message, fields });
  }

  messages(level: string): string[] {
    return this.lines.filter((line) => line.level === level).map(({ message }) => message);
  }
}

/** A good ADD of container `name` in the namespace at `/ns/name` with cookie 7, as `FakeNamespaces.make` makes it. */
export function addRequest(name: string, changes: Partial<AddRequest> = {}): AddRequest {
  return {
    op: "add",
    network: "net",
    containerId: name,
    ifname: "eth0",
    netnsPath: `/ns/${name}`,
    netnsCookie: "7",
    addresses: [{ address: "10.1.0.2", prefixLength: 24 }],
    attributes: { app: "web" },
    pluginVersion: "0.1.0",
    ...changes,
  };
}
