/** Joins a PU's token, its place in the datapath, and the guard of its rules: what control asks for as `PuHost`. */
import type { HostedPu, PuHost } from "../control/pu-host.ts";
import type { Log } from "../log.ts";
import { releaseRules } from "./namespace-rules.ts";
import type { QueueHolder } from "./queue-holder.ts";
import type { RuleGuard } from "./rule-guard.ts";
import type { Tokens } from "./tokens.ts";
import type { WorkerLink } from "./worker-link.ts";

export function hostPus(
  tokens: Tokens,
  link: WorkerLink,
  guard: RuleGuard,
  queues: QueueHolder,
  log: Log,
): PuHost {
  return {
    attach: async (pu) => {
      guard.prepare(pu);
      try {
        const attached = link.attach(describe(pu));
        // Where signing fails, nobody waits for it.
        attached.catch(() => undefined);
        // Signed while the worker opens the queues.
        const token = tokens.add({ puId: pu.record.id, attributes: pu.record.attributes });
        link.tell({ kind: "token", puId: pu.record.id, token });
        await attached;
      } catch (error) {
        guard.unwatch(pu.record.id);
        tokens.remove(pu.record.id);
        // After a time-out the worker may still come to it.
        await detach(link, pu.record.id, log);
        throw error;
      }
    },
    guardRules: (pu) => {
      try {
        guard.watch(pu);
        queues.hold(pu);
      } catch (error) {
        log.error("the PU's rules cannot be watched", { pu: pu.record.id, problem: String(error) });
      }
    },
    detach: async (puId) => {
      guard.unwatch(puId);
      queues.release(puId);
      tokens.remove(puId);
      await detach(link, puId, log);
    },
    removeRules: ({ record, netnsFd }, staying) => releaseRules(netnsFd, record.id, staying),
  };
}

function describe({ record, netnsFd }: HostedPu): Parameters<WorkerLink["attach"]>[0] {
  const { id, attributes, ifname, mtu } = record;
  return { id, attributes, interfaceName: ifname, mtu, netnsFd };
}

async function detach(link: WorkerLink, puId: string, log: Log): Promise<void> {
  try {
    await link.detach(puId);
  } catch (error) {
    log.debug("detach without answer", { pu: puId, problem: String(error) });
  }
}
