/**
 * Owns the settings of the pod's namespace that enforcement needs. Sources: the kernel's nf_conntrack-sysctl.rst and
 * ip-sysctl.rst; a half-closed connection must keep its conntrack entry, and with it its mark, for as long as TCP keeps it.
 */
import type { PodNamespace } from "./pod-namespace.ts";

interface Setting {
  /** Below /proc/sys. */
  readonly path: string;
  readonly wanted: (current: number) => number;
}

const hour = 3600;
const atMost = (limit: number) => (current: number) => Math.min(current, limit);
const atLeast = (limit: number) => (current: number) => Math.max(current, limit);

/** TFO_SERVER_WO_COOKIE: SYN data goes to the application without any proof (linux/tcp.h). */
const fastOpenWithoutCookie = 0x200;

/** Seconds, but for the last. */
export const settings: readonly Setting[] = [
  // So that a 4-tuple used again meets no entry of the connection before.
  { path: "net/netfilter/nf_conntrack_tcp_timeout_time_wait", wanted: atMost(10) },
  { path: "net/netfilter/nf_conntrack_tcp_timeout_close_wait", wanted: atLeast(hour) },
  { path: "net/netfilter/nf_conntrack_tcp_timeout_fin_wait", wanted: atLeast(hour) },
  { path: "net/netfilter/nf_conntrack_tcp_timeout_unacknowledged", wanted: atLeast(1000) },
  { path: "net/netfilter/nf_conntrack_tcp_timeout_max_retrans", wanted: atLeast(1000) },
  { path: "net/ipv4/tcp_fastopen", wanted: (current) => current & ~fastOpenWithoutCookie },
];

/** Brings every setting where it must be, and gives what puts back those that it changed. Throws what the kernel refuses. */
export function applySettings(namespace: PodNamespace): () => void {
  const changed: { path: string; before: string }[] = [];
  const undo = (): void => {
    for (const { path, before } of changed) namespace.writeSysctl(path, before);
  };
  try {
    for (const { path, wanted } of settings) {
      const before = namespace.readSysctl(path);
      const after = String(wanted(Number(before)));
      if (after === before) continue;
      namespace.writeSysctl(path, after);
      changed.push({ path, before });
    }
    return undo;
  } catch (error) {
    undo();
    throw error;
  }
}
